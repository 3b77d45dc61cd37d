"""USR2: a new supervisor takes over, and no client notices."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from pathlib import Path

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
