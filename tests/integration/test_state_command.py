"""The command that looks into shared state, and the example."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from manycore import Manager, managers

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "manycore", "state", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_shell_sees_what_there_is() -> None:
    """`ls`, `get`, `dump` and `clear`, as text and as JSON."""
    with Manager() as manager:
        manager.dict("sessions", ann=1)
        manager.list("names").extend(["a", "b"])
        lock = manager.Lock("gate")
        lock.acquire()
        listed = json.loads(run("ls", "--json", "--path", manager.path).stdout)[0]["containers"]
        assert [one["name"] for one in listed] == ["sessions", "names", "gate"]
        assert listed[2]["holder"] == os.getpid()
        assert f"held by process {os.getpid()}" in run("ls", "-p", manager.path).stdout
        assert run("get", "sessions", "ann", "-p", manager.path).stdout == "1\n"
        assert json.loads(run("get", "names", "-j", "-p", manager.path).stdout) == ["a", "b"]
        assert "names = ['a', 'b']" in run("dump", "-p", manager.path).stdout
        assert run("clear", "names", "-p", manager.path).returncode == 0
        assert manager.find("names") is None
        assert run("clear", "--all", "-p", manager.path).stdout == "removed 2\n"
        assert manager.statistics().containers == ()


def test_an_error_is_one_clear_line(tmp_path: Path) -> None:
    """On standard error, with an exit code; nothing is made where there was nothing."""
    with Manager() as manager:
        for arguments, code, words in (
            (("get", "nothing", "-p", manager.path), 1, "no container 'nothing'"),
            (("ls", "-p", str(tmp_path / "none")), 1, "there is no state"),
            (("clear", "-p", manager.path), 2, "--all"),
        ):
            done = run(*arguments)
            assert (done.returncode, done.stdout) == (code, "")
            assert words in done.stderr
            assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_example_runs() -> None:
    """The usual program, with only the import changed."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "sharing.py"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "[]\n[111]\n"


class Maths:
    def double(self, number: int) -> int:
        return 2 * number


def test_the_standard_librarys_managers_are_there() -> None:
    """For types of one's own, by a process that keeps them."""

    class Own(managers.BaseManager):
        pass

    Own.register("Maths", Maths)
    with Own() as manager:
        assert manager.Maths().double(4) == 8  # type: ignore[attr-defined]
