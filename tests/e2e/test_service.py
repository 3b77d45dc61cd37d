"""The server in its place: under a service manager, behind a load balancer, as process 1."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from command import is_alive, run, serve
from eventually import eventually


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.bind(str(tmp_path / "notify"))
        yield sock


def heard(sock: socket.socket) -> str:
    return sock.recv(4096).decode()


def test_a_service_s_life(log: Path, manager: socket.socket, tmp_path: Path) -> None:
    """Ready, reloading, ready again, stopping: each is told when it is so."""
    place = str(tmp_path / "notify")
    with serve("echo.py:handle", "--workers", "2", log=log, NOTIFY_SOCKET=place) as served:
        assert heard(manager) == "READY=1\nSTATUS=serving: 2 workers, generation 0"
        served.send(signal.SIGHUP)
        assert heard(manager).startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert heard(manager) == "READY=1\nSTATUS=serving: 2 workers, generation 1"
        served.send(signal.SIGTERM)
        assert heard(manager).startswith("STOPPING=1")
        assert served.wait() == 0


def test_the_watchdog_hears_of_a_sound_server(
    log: Path, manager: socket.socket, tmp_path: Path
) -> None:
    """It is told again and again, and not while the supervisor does nothing."""
    place = str(tmp_path / "notify")
    with serve("echo.py:handle", log=log, NOTIFY_SOCKET=place, WATCHDOG_USEC="200000") as served:
        assert heard(manager).startswith("READY=1")
        for _ in range(3):
            assert heard(manager) == "WATCHDOG=1"
        served.send(signal.SIGSTOP)
        manager.settimeout(0.5)
        with pytest.raises(TimeoutError):
            for _ in range(20):  # what it had said already
                heard(manager)
        served.send(signal.SIGCONT)
        manager.settimeout(20)
        assert heard(manager) == "WATCHDOG=1"


def test_a_delay_before_the_stop(log: Path) -> None:
    """All goes on meanwhile; the state says that it ends; Ctrl-C does not wait."""
    with serve("echo.py:handle", "--pre-stop-delay", "1.5", "-n", "slow", log=log) as served:
        begun = time.monotonic()
        served.send(signal.SIGTERM)
        served.await_log("stopping in 1.5 s")
        served.send(signal.SIGTERM)  # changes nothing
        with served.connect() as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
        assert "stopping, pid" in run("status", "-n", "slow").stdout
        assert served.wait() == 0
        assert time.monotonic() - begun >= 1.5
    with serve("echo.py:handle", "--pre-stop-delay", "60", log=log) as served:
        served.send(signal.SIGTERM)
        served.await_log("stopping in 60 s")
        served.send(signal.SIGQUIT)
        assert served.wait() == 0


def test_the_pid_file(log: Path, tmp_path: Path) -> None:
    """A second server is refused, a killed one's file replaced, and the last one removes it."""
    path = tmp_path / "pid"
    with serve("echo.py:handle", "--pid-file", str(path), log=log) as served:
        assert path.read_text() == f"{served.pid}\n"
        done = run("serve", "echo.py:handle", "--pid-file", str(path))
        assert done.returncode == 1
        assert f"a server has it that runs (pid {served.pid})" in done.stderr
        served.process.kill()
        served.wait()
        assert path.exists()
    with serve("echo.py:handle", "--pid-file", str(path), log=log) as served:
        assert path.read_text() == f"{served.pid}\n"
        served.send(signal.SIGTERM)
        assert served.wait() == 0
        assert not path.exists()


NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def can_unshare() -> bool:
    try:
        done = subprocess.run([*NAMESPACE, "true"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def below(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def test_process_1(log: Path, tmp_path: Path) -> None:
    """In a namespace of its own it reaps the orphans that it is left, and ends when it is told."""
    if not can_unshare():
        pytest.skip("no process namespace may be made here")
    target = tmp_path / "orphans.py"
    target.write_text(
        "import subprocess\n"
        "def handle(conn):\n"
        "    # the middle one ends first, and leaves the last to process 1\n"
        "    subprocess.run(['sh', '-c', 'setsid sleep 0.3 &'])\n"
        "    conn.sendall(b'left')\n"
    )
    command = [*NAMESPACE, sys.executable, "-m", "manycore", "serve", f"{target}:handle"]
    with log.open("wb") as stderr:
        process = subprocess.Popen([*command, "--bind", "127.0.0.1:0", "-w", "1"], stderr=stderr)
    try:
        ready = eventually(
            lambda: next((x for x in log.read_text().splitlines() if "ready: " in x), ""), within=20
        )
        assert "pid 1" in ready
        port = int(ready.split("127.0.0.1:")[1].split(",")[0])
        (first,) = below(process.pid)
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                assert client.recv(10) == b"left"
        eventually(lambda: len(below(first)) == 4, within=5)  # a worker, and three orphans
        eventually(lambda: len(below(first)) == 1, within=10)
        os.kill(first, signal.SIGTERM)
        assert process.wait(15) == 0
        assert not is_alive(first)
    finally:
        process.kill()
        process.wait()
