"""The examples of pools run as they stand."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", ["pool_threads.py", "pool_processes.py"])
def test_tasks_and_callbacks(name: str) -> None:
    """Each task prints its line, each callback its own, and then comes the end."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(re.findall(r"\d-------555", done.stdout)) == 6
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
    finally:
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=10)
    assert said.count("Traceback") == 1
    assert said.rstrip().endswith("KeyboardInterrupt")
