"""The log in a file, and its rotation."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path

from command import run, serve
from eventually import eventually


def holders(path: Path, pids: list[int]) -> list[int]:
    """Those who have a file open."""
    made = path.stat()
    return [
        pid
        for pid in pids
        for entry in Path(f"/proc/{pid}/fd").iterdir()
        if entry.exists() and entry.stat().st_ino == made.st_ino
    ]


def test_rotation_loses_no_line(tmp_path: Path) -> None:
    """Rotations under load: each client's line is in one of the files, once and whole."""
    target = tmp_path / "talks.py"
    target.write_text(
        "import logging\n"
        "def handle(conn):\n"
        "    logging.getLogger('t').info('client %s.', conn.recv(100).decode())\n"
        "    conn.sendall(b'x')\n"
    )
    log, clients, each = tmp_path / "app.log", 4, 100
    arguments = ["--workers", "2", "--log-file", str(log)]
    with serve(f"{target}:handle", *arguments, log=tmp_path / "err", ready=False) as served:
        served.log = log
        eventually(log.exists, within=10)
        address = served.address

        def play(client: int) -> None:
            for number in range(each):
                with socket.create_connection(address, timeout=10) as conn:
                    conn.sendall(b"%d-%d" % (client, number))
                    assert conn.recv(1) == b"x"

        threads = [threading.Thread(target=play, args=(number,)) for number in range(clients)]
        rotated = [log]
        for thread in threads:
            thread.start()
        while len(rotated) < 3 or any(thread.is_alive() for thread in threads):
            old = tmp_path / f"app.log.{len(rotated)}"
            log.rename(old)
            rotated.append(old)
            served.send(signal.SIGUSR1)
            eventually(log.exists, within=10)
            eventually(lambda: "opened anew" in log.read_text(), within=10)
            threads[0].join(0.1)
        for thread in threads:
            thread.join()
        lines = [line for path in rotated for line in path.read_text().splitlines()]
        told = sorted(line.split("client ")[1] for line in lines if "client " in line)
        assert told == sorted(f"{c}-{n}." for c in range(clients) for n in range(each))
        everybody = [served.pid, *served.workers()]
        eventually(lambda: not holders(rotated[-1], everybody), within=5)
        assert sorted(holders(log, everybody)) == sorted(everybody)
    assert (tmp_path / "err").read_text() == ""


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """It is a wrong setting."""
    done = run("serve", "echo.py:handle", "--log-file", str(tmp_path / "none" / "log"))
    assert done.returncode == 2
    assert "--log-file: " in done.stderr
    assert "no such file or directory; give a file that can be written" in done.stderr


def test_standard_error_stays(tmp_path: Path) -> None:
    """Without a file, USR1 is refused in the log."""
    with serve("echo.py:handle", log=tmp_path / "log") as served:
        os.kill(served.pid, signal.SIGUSR1)
        served.await_log("standard error, which cannot be reopened")
