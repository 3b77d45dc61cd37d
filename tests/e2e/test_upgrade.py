"""USR2: a new supervisor takes over, and no client notices."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from command import TARGETS, is_alive, run, serve
from eventually import eventually


def write_version(code: Path, version: int) -> None:
    code.mkdir(exist_ok=True)
    text = f"VERSION = b'{version}'\n"
    (code / "versioned.py").write_text(text + (TARGETS / "versioned.py.txt").read_text())


def status() -> dict[str, object]:
    done = run("status", "-n", "up", "-j")
    facts: dict[str, object] = json.loads(done.stdout) if done.returncode == 0 else {}
    return facts


def test_a_new_supervisor_takes_over_under_load(tmp_path: Path) -> None:
    """No connection breaks; pid file and control socket are the new one's, and it can do it too."""
    pid_file, path = tmp_path / "pid", tmp_path / "socket"
    arguments = ["-w", "2", "-n", "up", "--pid-file", str(pid_file), "--bind", f"unix:{path}"]
    broken, served_count, done = list[str](), [0], threading.Event()
    with serve("echo.py:handle", *arguments, log=tmp_path / "log") as served:
        address = served.address

        def play() -> None:
            while not done.is_set():
                for family, where in ((socket.AF_INET, address), (socket.AF_UNIX, str(path))):
                    try:
                        with socket.socket(family) as client:
                            client.settimeout(10)
                            client.connect(where)
                            client.sendall(b"x")
                            assert client.recv(10) == b"x"
                            served_count[0] += 1
                    except (OSError, AssertionError) as error:
                        broken.append(repr(error))

        threads = [threading.Thread(target=play) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            pid = served.pid
            for _ in range(2):
                os.kill(pid, signal.SIGUSR2)
                before = pid
                eventually(lambda b=before: status().get("pid", b) != b, within=20)  # type: ignore[misc]
                pid = int(pid_file.read_text())
                assert status()["pid"] == pid
                if before == served.pid:
                    assert served.wait() == 0
                eventually(lambda b=before: not is_alive(b), within=10)  # type: ignore[misc]
        finally:
            done.set()
            for thread in threads:
                thread.join()
            assert run("stop", "-n", "up", "--wait").returncode == 0
    assert broken == []
    assert served_count[0] > 0
    assert not pid_file.exists()
    assert not path.exists()


def test_changed_settings_move_what_they_name(tmp_path: Path) -> None:
    """Pid file, control socket and number of workers are those of the settings as they are now."""
    settings = tmp_path / "settings.toml"
    before, after = tmp_path / "before.pid", tmp_path / "after.pid"
    settings.write_text(f'name = "down"\nworkers = 1\npid-file = "{before}"\n')
    with serve("echo.py:handle", "--config", str(settings), log=tmp_path / "log") as served:
        assert int(before.read_text()) == served.pid
        settings.write_text(f'name = "up"\nworkers = 2\npid-file = "{after}"\n')
        served.send(signal.SIGUSR2)
        assert served.wait() == 0
        assert not before.exists()
        facts = status()
        assert facts["pid"] == int(after.read_text())
        assert facts["workers"] == 2
        settings.write_text('name = "up"\nworkers = 1\n')
        os.kill(int(after.read_text()), signal.SIGUSR2)
        eventually(lambda: not after.exists(), within=10)
        assert run("stop", "-n", "up", "--wait").returncode == 0


def test_an_address_that_is_wanted_no_more_refuses_clients(tmp_path: Path) -> None:
    """It does so while the old workers still have a connection that came there."""
    settings, log = tmp_path / "settings.toml", tmp_path / "log"
    arguments = ("--config", str(settings), "-w", "1", "-n", "up")
    settings.write_text(f'bind = ["127.0.0.1:0", "unix:{tmp_path}/kept"]\n')
    with serve("echo.py:handle", *arguments, bind="", log=log) as served:
        with served.connect() as client:
            client.sendall(b"x")
            assert client.recv(10) == b"x"
            settings.write_text(f'bind = ["unix:{tmp_path}/kept"]\n')
            served.send(signal.SIGUSR2)
            served.await_log("took over")

            def is_refused() -> bool:
                with socket.socket() as newcomer:
                    newcomer.settimeout(5)
                    return newcomer.connect_ex(served.address) == errno.ECONNREFUSED

            eventually(is_refused, within=5)
            client.sendall(b"y")
            assert client.recv(10) == b"y"
        assert served.wait() == 0
        assert (tmp_path / "kept").exists()
        assert run("stop", "-n", "up", "--wait").returncode == 0


def test_a_new_one_that_cannot_serve_changes_nothing(tmp_path: Path) -> None:
    """The old one goes on, says why, and can try again; a stop ends an upgrade too."""
    code, pid_file = tmp_path / "code", tmp_path / "pid"
    write_version(code, 1)
    arguments = ("-w", "1", "-n", "up", "--pid-file", str(pid_file))
    with serve("versioned.py:handle", *arguments, log=tmp_path / "log", cwd=code) as served:
        (code / "versioned.py").write_text("raise RuntimeError('a bad release')\n")
        served.send(signal.SIGUSR2)
        line = served.await_log("the upgrade failed, this server goes on")
        assert "a bad release" in line
        assert status()["pid"] == served.pid == int(pid_file.read_text())
        with served.connect() as client:
            assert client.recv(1) == b"1"
        (code / "versioned.py").write_text("import threading\nthreading.Event().wait()\n")
        served.send(signal.SIGUSR2)
        eventually(lambda: served.text.count("upgrading: got SIGUSR2") == 2, within=5)
        served.send(signal.SIGUSR2)
        served.await_log("an upgrade or a stop is under way")
        served.send(signal.SIGTERM)
        assert served.wait() == 0
    assert not pid_file.exists()


class Manager:
    """A service manager that hears its service's main process only, as systemd does by default."""

    def __init__(self, place: Path) -> None:
        self.place = str(place)
        self.main_pid = 0
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.settimeout(20)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._sock.bind(self.place)

    def heard(self) -> dict[str, str]:
        """Gives what was said next; whoever is not the main process must not speak."""
        text, credentials, _, _ = self._sock.recvmsg(4096, socket.CMSG_SPACE(12))
        sender, _, _ = struct.unpack("3i", credentials[0][2])
        words = dict(line.split("=", 1) for line in text.decode().splitlines())
        self.main_pid = self.main_pid or sender
        assert sender == self.main_pid, words
        self.main_pid = int(words.get("MAINPID", sender))
        return words

    def close(self) -> None:
        """Hears no more."""
        self._sock.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def test_the_service_manager_is_told(tmp_path: Path, manager: Manager) -> None:
    """The old one names the new one and is silent; that names itself, and tells the rest."""
    with serve(
        "echo.py:handle", "-w", "1", log=tmp_path / "log", NOTIFY_SOCKET=manager.place
    ) as old:
        assert manager.heard()["READY"] == "1"
        pid = old.pid
        for _ in range(2):
            os.kill(pid, signal.SIGUSR2)
            words = manager.heard()
            assert (words["RELOADING"], words["STATUS"]) == ("1", "upgrading")
            assert int(words["MONOTONIC_USEC"]) > 0
            new = int(manager.heard()["MAINPID"])
            assert new != pid
            assert manager.heard() == {"MAINPID": str(new)}
            assert manager.heard() == {"READY": "1", "STATUS": "serving: 1 workers, generation 0"}
            eventually(lambda p=pid: not is_alive(p), within=10)  # type: ignore[misc]
            pid = new
        os.kill(pid, signal.SIGHUP)
        assert manager.heard()["RELOADING"] == "1"
        assert manager.heard()["READY"] == "1"
        os.kill(pid, signal.SIGTERM)
        assert manager.heard()["STOPPING"] == "1"
        eventually(lambda: not is_alive(pid), within=10)


def test_the_service_manager_is_told_of_a_failure(tmp_path: Path, manager: Manager) -> None:
    """The old one is ready again, and says what failed; its watchdog hears it all the time."""
    code = tmp_path / "code"
    write_version(code, 1)

    def heard() -> dict[str, str]:
        while (words := manager.heard()) == {"WATCHDOG": "1"}:
            pass
        return words

    with serve(
        "versioned.py:handle",
        "-w",
        "1",
        log=tmp_path / "log",
        cwd=code,
        NOTIFY_SOCKET=manager.place,
        WATCHDOG_USEC="2000000",
    ) as served:
        assert heard()["READY"] == "1"
        (code / "versioned.py").write_text("raise RuntimeError('a bad release')\n")
        served.send(signal.SIGUSR2)
        assert heard()["STATUS"] == "upgrading"
        words = heard()
        assert words["READY"] == "1"
        assert words["STATUS"].endswith("generation 0; the last upgrade failed")
        assert manager.heard() == {"WATCHDOG": "1"}
        write_version(code, 2)
        served.send(signal.SIGUSR2)
        assert heard()["STATUS"] == "upgrading"
        new = int(heard()["MAINPID"])
        assert heard() == {"MAINPID": str(new)}
        assert heard()["READY"] == "1"
        assert manager.heard() == {"WATCHDOG": "1"}
        os.kill(new, signal.SIGTERM)
        assert heard()["STOPPING"] == "1"
        eventually(lambda: not is_alive(new), within=10)


def test_one_whose_predecessor_dies_too_early(tmp_path: Path, manager: Manager) -> None:
    """It is the server then, and is ready when it is, and not before."""
    code = tmp_path / "code"
    write_version(code, 1)
    log = tmp_path / "log"
    with serve(
        "versioned.py:handle", "-w", "1", log=log, cwd=code, NOTIFY_SOCKET=manager.place
    ) as old:
        assert manager.heard()["READY"] == "1"
        go, booting = tmp_path / "go", tmp_path / "booting"
        wait = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        text = (code / "versioned.py").read_text()
        (code / "versioned.py").write_text(f"open({str(booting)!r}, 'w')\n{wait}{text}")
        old.send(signal.SIGUSR2)
        assert manager.heard()["STATUS"] == "upgrading"
        eventually(booting.exists, within=20)
        old.process.kill()
        manager.main_pid = 0  # it takes whoever speaks next
        new = int(manager.heard()["MAINPID"])
        assert new == manager.main_pid != old.pid
        go.touch()
        assert manager.heard()["READY"] == "1"
        os.kill(new, signal.SIGTERM)
        assert manager.heard()["STOPPING"] == "1"
        eventually(lambda: not is_alive(new), within=10)
