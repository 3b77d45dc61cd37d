"""What tells the service manager, and the pid file."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from manycore.base.notify import Notifier
from manycore.base.pidfile import PidFile
from manycore.errors import PidFileError


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket, and how it is named in the environment."""
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.bind(name if request.param == "file" else f"\0{name}")
        yield sock, name if request.param == "file" else f"@{name}"


def heard(sock: socket.socket) -> dict[str, str]:
    lines = sock.recv(4096).decode().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_words(manager: tuple[socket.socket, str]) -> None:
    """Each word is one datagram, as systemd wants it."""
    sock, place = manager
    notifier = Notifier.take({"NOTIFY_SOCKET": place})
    notifier.ready("serving\nwell")
    assert heard(sock) == {"READY": "1", "STATUS": "serving well"}
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading("again")
    said = heard(sock)
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert said.pop("RELOADING") == "1"
    assert before <= int(said["MONOTONIC_USEC"]) <= after
    notifier.alive()
    assert heard(sock) == {"WATCHDOG": "1"}
    notifier.stopping("bye")
    assert heard(sock) == {"STOPPING": "1", "STATUS": "bye"}


def test_another_speaks_after_the_main_pid(manager: tuple[socket.socket, str]) -> None:
    """Once another process is the main one, this one is silent."""
    sock, place = manager
    notifier = Notifier.take({"NOTIFY_SOCKET": place})
    notifier.main_pid(4711)
    notifier.stopping("bye")
    assert heard(sock) == {"MAINPID": "4711"}
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        sock.recv(100)


@pytest.mark.parametrize(
    ("usec", "pid", "watchdog"),
    [
        ("2000000", "", 2.0),
        pytest.param("2000000", str(os.getpid()), 2.0, id="named"),
        ("2000000", "1", None),  # it is meant for another process
        ("0", "", None),
        ("soon", "", None),
        ("", "", None),
    ],
)
def test_the_watchdog_is_ours(usec: str, pid: str, watchdog: float | None) -> None:
    """The watchdog's period counts for the process that it names, or for any."""
    environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid, "HOME": "/"}
    assert Notifier.take(environ).watchdog == watchdog
    assert environ == {"HOME": "/"}


def test_nobody_listens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A service manager that is not there is told in vain, and the log says so once."""
    notifier = Notifier.take({"NOTIFY_SOCKET": str(tmp_path / "none")})
    notifier.ready("x")
    notifier.alive()
    assert len(caplog.records) == 1
    assert "cannot be told (" in caplog.text
    Notifier.take({}).ready("x")
    assert len(caplog.records) == 1


def test_a_pid_file(tmp_path: Path) -> None:
    """It has the process's id, and is removed at the end."""
    path = tmp_path / "pid"
    with PidFile(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
    assert not path.exists()


def test_a_living_server_s_pid_file_is_refused(tmp_path: Path) -> None:
    """And left as it is."""
    path = tmp_path / "pid"
    with PidFile(str(path)):
        with pytest.raises(PidFileError, match=rf"that runs \(pid {os.getpid()}\)"):
            PidFile(str(path))
        assert path.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize(
    "left",
    ["", "1\n", "99999999999\n", f"{os.getppid()}\n"],
    ids=["empty", "first", "too big", "parent"],  # our parent may be the first process
)
def test_a_stale_pid_file_is_replaced(tmp_path: Path, left: str) -> None:
    """Whoever has the number by now."""
    path = tmp_path / "pid"
    path.write_text(left)
    with PidFile(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"


def test_what_is_no_pid_file_is_not_touched(tmp_path: Path) -> None:
    """Nor followed where it is a link."""
    path = tmp_path / "precious"
    path.write_text("my novel")
    with pytest.raises(PidFileError, match="something else"):
        PidFile(str(path))
    assert path.read_text() == "my novel"
    (tmp_path / "link").symlink_to(tmp_path / "other")
    with pytest.raises(PidFileError, match="symbolic link"):
        PidFile(str(tmp_path / "link"))
    with pytest.raises(PidFileError, match="no such file"):
        PidFile(str(tmp_path / "none" / "pid"))


def test_only_our_own_file_is_removed(tmp_path: Path) -> None:
    """One that somebody put in its place stays."""
    path = tmp_path / "pid"
    with PidFile(str(path)):
        path.unlink()
        path.write_text("4711\n")
    assert path.read_text() == "4711\n"
