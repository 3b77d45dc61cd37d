"""The hooks file."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from command import TARGETS, Served, is_alive, run, serve
from eventually import eventually

ALL = """
import os
def said(name, *facts):
    with open({found!r}, "a") as file:
        print(name, os.getpid(), *facts, file=file, flush=True)
def on_starting(server): said("on_starting", server.workers)
def nworkers_changed(server, new, old): said("nworkers_changed", new, old)
def pre_fork(server, worker): said("pre_fork", worker.number, worker.pid, worker.generation)
def pre_exec(server): said("pre_exec")
def when_ready(server): said("when_ready", server.name)
def on_reload(server): said("on_reload")
def child_exit(server, worker): said("child_exit", worker.generation)
def on_exit(server): said("on_exit")
def post_fork(server, worker): said("post_fork", worker.generation)
def post_worker_init(worker): said("post_worker_init", worker.pid == os.getpid())
def worker_int(worker): said("worker_int", worker.number)
def worker_abort(worker): said("worker_abort", worker.number, worker.pid == os.getpid())
def worker_exit(server, worker): said("worker_exit", worker.number)
"""

WAITS = """
import time
def waits(name):
    said("begins")
    deadline = time.monotonic() + 20
    while not os.path.exists({folder!r} + "/" + name) and time.monotonic() < deadline:
        time.sleep(0.01)
"""


def told(served: Served, found: Path) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """What the hooks wrote, in the supervisor and elsewhere."""
    lines = [line.split() for line in found.read_text().splitlines()]
    mine = [(name, *facts) for name, pid, *facts in lines if int(pid) == served.pid]
    theirs = [(name, *facts) for name, pid, *facts in lines if int(pid) != served.pid]
    return mine, theirs


def echo(served: Served) -> None:
    with served.connect() as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"


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
        mine, theirs = told(served, found)
    assert mine == [
        ("on_starting", "1"),
        ("nworkers_changed", "1", "None"),
        ("pre_fork", "1", "0", "0"),
        ("when_ready", "echo.py:handle"),
        ("on_reload",),
        ("pre_fork", "1", "0", "1"),
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


def test_a_number_that_changes_and_a_quick_stop(tmp_path: Path) -> None:
    """The new number and the old one; a worker that is told to end at once says so first."""
    hooks, found = tmp_path / "hooks.py", tmp_path / "found"
    hooks.write_text(ALL.format(found=str(found)))
    arguments = ["--workers", "1", "--hooks", str(hooks)]
    with serve("echo.py:handle", *arguments, log=tmp_path / "log") as served:
        served.send(signal.SIGTTIN)
        eventually(lambda: run("status", "-j").stdout.count('"state": "ready"') == 2, within=10)
        served.send(signal.SIGQUIT)
        assert served.wait() == 0
        mine, theirs = told(served, found)
    changes = [line for line in mine if line[0] == "nworkers_changed"]
    assert changes == [("nworkers_changed", "1", "None"), ("nworkers_changed", "2", "1")]
    last = [line for line in theirs if line[0] in {"worker_int", "worker_exit"}]
    assert sorted(last) == [
        (name, number) for name in ("worker_exit", "worker_int") for number in ("1", "2")
    ]
    assert last[0][0] == "worker_int"


def test_one_that_a_stop_finds_in_its_hooks(tmp_path: Path) -> None:
    """A stop during post_worker_init, and one during worker_exit, cut neither off."""
    hooks, found = tmp_path / "hooks.py", tmp_path / "found"
    waiting = ALL.format(found=str(found)) + WAITS.format(folder=str(tmp_path))
    for name in ("post_worker_init", "worker_exit"):
        waiting = waiting.replace(f'said("{name}"', f'waits("{name}"); said("{name}"')
    hooks.write_text(waiting)
    booting, ending = tmp_path / "post_worker_init", tmp_path / "worker_exit"
    booting.touch()
    arguments = ["--workers", "1", "--hooks", str(hooks)]

    def begun(count: int) -> bool:
        return found.read_text().count("begins") == count

    with serve("echo.py:handle", *arguments, log=tmp_path / "log") as served:
        booting.unlink()
        served.send(signal.SIGTTIN)
        eventually(lambda: begun(2), within=10)  # the second worker boots
        served.send(signal.SIGTERM)
        eventually(lambda: begun(3), within=10)  # the first has drained
        booting.touch()
        eventually(lambda: begun(4), within=10)
        served.send(signal.SIGQUIT)
        served.await_log("stopping: got SIGQUIT")
        ending.touch()
        assert served.wait() == 0
        theirs = [line[0] for line in told(served, found)[1]]
        assert theirs.count("post_worker_init") == theirs.count("worker_exit") == 2
        assert "SIG" not in served.text.replace("stopping: got SIG", "")


def test_a_worker_that_hangs(tmp_path: Path) -> None:
    """Its hook is called in it, and it dies as it would without one."""
    hooks, found = tmp_path / "hooks.py", tmp_path / "found"
    hooks.write_text(ALL.format(found=str(found)))
    arguments = ["--workers", "1", "--timeout", "0.5", "--mode", "greenlets"]
    target = f"{TARGETS}/hangs.py:deadlock"
    log = tmp_path / "log"
    with (
        serve(target, *arguments, "--hooks", str(hooks), log=log) as served,
        served.connect() as client,
    ):
        client.sendall(b"1")
        served.await_log("was killed by SIGABRT", within=20)
        assert ("worker_abort", "1", "True") in told(served, found)[1]


def test_an_upgrade(tmp_path: Path) -> None:
    """It is called before the new supervisor starts; one that raises keeps that from starting."""
    hooks, found = tmp_path / "hooks.py", tmp_path / "found"
    failing = ALL.replace('said("pre_exec")', 'said("pre_exec"); os.stat({found!r} + "ok")')
    hooks.write_text(failing.format(found=str(found)))
    with serve("echo.py:handle", "--hooks", str(hooks), log=tmp_path / "log") as served:
        served.send(signal.SIGUSR2)
        line = served.await_log("the upgrade failed, this server goes on")
        assert f"{hooks}:pre_exec: it raised FileNotFoundError" in line
        served.await_log("Traceback (most recent call last)")
        (tmp_path / "foundok").touch()
        served.send(signal.SIGUSR2)
        new = int(served.await_log("upgraded: pid ", within=20).split("pid ")[1].split()[0])
        assert served.wait(20) == 0
        assert [line[0] for line in told(served, found)[0]].count("pre_exec") == 2
        os.kill(new, signal.SIGTERM)
        eventually(lambda: not is_alive(new), within=10)


def test_a_new_worker_that_a_hook_keeps_away(tmp_path: Path) -> None:
    """Each try is told with its traceback; a reload fails; when the hook lets one, it serves."""
    hooks, bad = tmp_path / "hooks.py", tmp_path / "bad"
    hooks.write_text(
        "import os\n"
        "def pre_fork(server, worker):\n"
        f"    if os.path.exists({str(bad)!r}): raise ValueError('not now')\n"
    )
    with serve("echo.py:handle", "-w", "2", "--hooks", str(hooks), log=tmp_path / "log") as served:
        bad.touch()
        served.send(signal.SIGHUP)
        line = served.await_log("the reload failed, the old workers go on")
        assert f"{hooks}:pre_fork: it raised ValueError: not now" in line
        os.kill(served.workers()[0], signal.SIGKILL)
        line = served.await_log("could not boot")
        assert f"{hooks}:pre_fork: it raised ValueError: not now" in line
        assert served.text.count("Traceback (most recent call last)") >= 2
        echo(served)
        bad.unlink()
        eventually(lambda: len(served.workers()) == 2, within=20)


def test_a_replacement_that_a_hook_keeps_from_booting(tmp_path: Path) -> None:
    """The same for a hook that is called in the worker."""
    hooks, bad = tmp_path / "hooks.py", tmp_path / "bad"
    hooks.write_text(
        "import os\n"
        "def post_fork(server, worker):\n"
        f"    if os.path.exists({str(bad)!r}): raise ValueError('not now')\n"
    )
    with serve("echo.py:handle", "-w", "2", "--hooks", str(hooks), log=tmp_path / "log") as served:
        bad.touch()
        os.kill(served.workers()[0], signal.SIGKILL)
        line = served.await_log("could not boot")
        assert f"{hooks}:post_fork: it raised ValueError: not now" in line
        served.await_log("Traceback (most recent call last)")
        echo(served)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("on_starting", "server"),
        ("pre_fork", "server, worker"),
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


@pytest.mark.parametrize("raised", ["ValueError('not today')", "SystemExit(3)"])
@pytest.mark.parametrize("name", ["when_ready", "on_reload", "nworkers_changed"])
def test_one_that_fails_and_keeps_nothing(tmp_path: Path, name: str, raised: str) -> None:
    """It is told in the log, and the server serves on."""
    hooks = tmp_path / "hooks.py"
    hooks.write_text(f"def {name}(*facts): raise {raised}\n")
    with serve("echo.py:handle", "--hooks", str(hooks), log=tmp_path / "log") as served:
        served.send(signal.SIGHUP)
        served.await_log("every worker is of generation 1")
        served.await_log(f"the hook {name} of {hooks} failed; all goes on")
        assert served.text.count("Traceback (most recent call last)") == 1
        echo(served)


@pytest.mark.parametrize("name", ["worker_int", "worker_exit"])
def test_one_that_fails_in_a_worker_that_ends(tmp_path: Path, name: str) -> None:
    """It is told in the log, and the worker ends as it would."""
    hooks = tmp_path / "hooks.py"
    hooks.write_text(f"def {name}(*facts): raise ValueError('not today')\n")
    with serve("echo.py:handle", "-w", "1", "--hooks", str(hooks), log=tmp_path / "log") as served:
        served.send(signal.SIGQUIT)
        assert served.wait() == 0
        served.await_log(f"the hook {name} of {hooks} failed; all goes on")
        served.await_log(") exited 0")


def test_files_that_are_none(tmp_path: Path) -> None:
    """A file without a hook, and one that is not there."""
    (tmp_path / "empty.py").write_text("def on_start(server): pass\n")
    done = run("serve", "echo.py:handle", "--hooks", str(tmp_path / "empty.py"))
    assert done.returncode == 2
    assert "has none of on_starting, nworkers_changed" in done.stderr
    done = run("serve", "echo.py:handle", "--hooks", str(tmp_path / "none.py"))
    assert done.returncode == 4
    assert "there is no such file" in done.stderr
