"""The examples of pools run as they stand."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


OURS = "from manycore import Pool, ThreadPool"
THEIRS = "from multiprocessing import Pool\nfrom multiprocessing.pool import ThreadPool"


@pytest.mark.parametrize("imports", [OURS, THEIRS])
def test_only_the_import_is_another_one(imports: str, tmp_path: Path) -> None:
    """With ours and with the standard library's the same lines are printed."""
    program = (EXAMPLES / "pool_tasks.py").read_text()
    assert program.count(f"{OURS}\n") == 1
    path = tmp_path / "program.py"
    path.write_text(program.replace(OURS, imports).replace("sleep(2)", "sleep(0.2)"))
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(re.findall(r"(\d)-------555", done.stdout)) == list("012347")
    assert sorted(re.findall(r"done \((\d),\) {}", done.stdout)) == list("01234")
    assert re.search(r"the end\n7-------555\n7\n$", done.stdout)


def test_a_server_made_of_pools() -> None:
    """It answers on every connection, and Ctrl-C ends all of it."""
    server = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "pool_server.py"), "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        for _ in range(8):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(b"hello")
                assert client.recv(10) == b"hello"
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=10)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # whatever is left when it failed
        server.communicate()
    assert said.count("Traceback") == 1
    assert said.rstrip().endswith("KeyboardInterrupt")
