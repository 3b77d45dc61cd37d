"""The hooks file."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from command import run, serve

ALL = """
import os
def said(name, *facts):
    with open({found!r}, "a") as file:
        print(name, os.getpid(), *facts, file=file, flush=True)
def on_starting(server): said("on_starting", server.workers)
def when_ready(server): said("when_ready", server.name)
def on_reload(server): said("on_reload")
def child_exit(server, worker): said("child_exit", worker.generation)
def on_exit(server): said("on_exit")
def post_fork(server, worker): said("post_fork", worker.generation)
def post_worker_init(worker): said("post_worker_init", worker.pid == os.getpid())
def worker_exit(server, worker): said("worker_exit", worker.number)
"""


def test_each_is_called_in_its_time(tmp_path: Path) -> None:
    """In order, in the right process."""
    hooks, found = tmp_path / "hooks.py", tmp_path / "found"
    hooks.write_text(ALL.format(found=str(found)))
    arguments = ["--workers", "1", "--hooks", str(hooks)]
    with serve("echo.py:handle", *arguments, log=tmp_path / "log") as served:
        served.send(signal.SIGHUP)
        served.await_log("every worker is of generation 1")
        served.await_log(") exited 0")
        served.send(signal.SIGTERM)
        assert served.wait() == 0
        lines = [line.split() for line in found.read_text().splitlines()]
        mine = [(name, *facts) for name, pid, *facts in lines if int(pid) == served.pid]
        theirs = [(name, *facts) for name, pid, *facts in lines if int(pid) != served.pid]
    assert mine == [
        ("on_starting", "1"),
        ("when_ready", "echo.py:handle"),
        ("on_reload",),
        ("child_exit", "0"),
        ("child_exit", "1"),
        ("on_exit",),
    ]
    assert theirs == [
        ("post_fork", "0"),
        ("post_worker_init", "True"),
        ("post_fork", "1"),
        ("post_worker_init", "True"),
        ("worker_exit", "1"),
        ("worker_exit", "1"),
    ]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("on_starting", "server"),
        ("post_fork", "server, worker"),
        ("post_worker_init", "worker"),
    ],
)
def test_one_that_keeps_all_from_starting(tmp_path: Path, name: str, arguments: str) -> None:
    """What must come before the start and raises is told with its name; nothing serves."""
    hooks = tmp_path / "hooks.py"
    hooks.write_text(f"def {name}({arguments}): raise ValueError('not today')\n")
    done = run("serve", "echo.py:handle", "--hooks", str(hooks))
    assert done.returncode == 4
    assert f"{hooks}:{name}: it raised ValueError: not today" in done.stderr


@pytest.mark.parametrize("name", ["when_ready", "on_reload"])
def test_one_that_fails_and_keeps_nothing(tmp_path: Path, name: str) -> None:
    """It is told in the log, and the server serves on."""
    hooks = tmp_path / "hooks.py"
    hooks.write_text(f"def {name}(server): raise ValueError('not today')\n")
    with serve("echo.py:handle", "--hooks", str(hooks), log=tmp_path / "log") as served:
        served.send(signal.SIGHUP)
        served.await_log("every worker is of generation 1")
        served.await_log(f"the hook {name} of {hooks} failed; all goes on")
        with served.connect() as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"


def test_files_that_are_none(tmp_path: Path) -> None:
    """A file without a hook, and one that is not there."""
    (tmp_path / "empty.py").write_text("def on_start(server): pass\n")
    done = run("serve", "echo.py:handle", "--hooks", str(tmp_path / "empty.py"))
    assert done.returncode == 2
    assert "has none of on_starting, when_ready" in done.stderr
    done = run("serve", "echo.py:handle", "--hooks", str(tmp_path / "none.py"))
    assert done.returncode == 4
    assert "there is no such file" in done.stderr
