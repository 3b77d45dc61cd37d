"""Workers that become another user."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from command import children, is_alive, run
from eventually import eventually

NOBODY, NOGROUP = 65_534, 65_533
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


#: all that its workers need is imported while they may still read it: root may have Python alone
PROGRAM = """
import sys
import manycore.server.modes.threads, manycore.server.modes.greenlets
import encodings.idna, subprocess, random
from manycore import serve
def handle(conn):
    while data := conn.recv(100):
        conn.sendall(data)
if __name__ == "__main__":
    serve(handle, sys.argv[1], workers=1, mode=sys.argv[2], user="65534", group="65533",
          umask="077", log_file=sys.argv[3])
"""


@contextmanager
def serving(place: Path, mode: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Serves on a Unix socket; gives the supervisor, and a worker's process id."""
    log = place / "server.log"
    arguments = [f"unix:{place / 'socket'}", mode, str(log)]
    with subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments]) as process:
        try:
            eventually(lambda: log.exists() and "ready: " in log.read_text(), within=20)
            (worker,) = children(process.pid)
            yield process, worker
        finally:
            process.kill()


@as_root
@pytest.mark.parametrize("mode", ["threads", "greenlets"])
def test_workers_become_another_user(tmp_path: Path, mode: str) -> None:
    """With no group left of root's; what they need is theirs, the supervisor stays root."""
    path = tmp_path / "socket"
    with serving(tmp_path, mode) as (supervisor, worker):
        status = Path(f"/proc/{worker}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["Uid"].split() == [str(NOBODY)] * 4
        assert fields["Gid"].split() == [str(NOGROUP)] * 4
        assert fields["Groups"].split() == [str(NOGROUP)]
        assert fields["Umask"].strip() == "0077"
        assert os.stat(f"/proc/{supervisor.pid}").st_uid == 0
        for file in (tmp_path / "server.log", path):
            assert (file.stat().st_uid, file.stat().st_gid) == (NOBODY, NOGROUP)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(path))
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"


@as_root
def test_they_end_with_their_supervisor(tmp_path: Path) -> None:
    """As those do that stay who they are."""
    with serving(tmp_path, "threads") as (supervisor, worker):
        supervisor.kill()
        eventually(lambda: not is_alive(worker), within=10)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--user", "no-such-user"], "user: there is no user 'no-such-user'"),
        (["--group", "no-such-group"], "group: there is no group 'no-such-group'"),
        (["--umask", "9"], "--umask: '9' is not three octal digits"),
    ],
)
def test_whom_nobody_knows(arguments: list[str], said: str) -> None:
    """One line says so."""
    done = run("serve", "echo.py:handle", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_only_root_can() -> None:
    """Anybody else is told so, and is asked to leave it out."""
    program = (
        "import os; from manycore.base import privileges\n"
        "from manycore.errors import SettingsError\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "try: privileges.find('0', '')\n"
        "except SettingsError as error: print(error)\n"
        "assert privileges.find(str(os.geteuid()), '').is_ours\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
    )
    assert "user: only root can become 0; start as root, or leave it out" in done.stdout, (
        done.stderr
    )
