"""What a process finds around it: streams, directory, environment, signals, CPUs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from manycore import Process
from process_programs import result_of, run

METHODS = ["template", "fork", "spawn"]


@pytest.mark.parametrize("method", METHODS)
class TestAtTheMomentOfTheStart:
    def test_the_working_directory(
        self, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A process works where its parent did when it started it."""
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            monkeypatch.chdir(tmp_path / name)
            assert result_of(os.getcwd, method=method) == str(tmp_path / name)

    def test_the_environment(self, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Variables set, changed and removed are so in the process, and in what it runs."""

        def see() -> tuple[Any, ...]:
            inside = os.popen("echo $MANYCORE_TEST").read()
            return os.environ.get("MANYCORE_TEST"), inside, "MANYCORE_OTHER" in os.environ

        monkeypatch.setenv("MANYCORE_TEST", "1")
        monkeypatch.setenv("MANYCORE_OTHER", "1")
        assert result_of(see, method=method) == ("1", "1\n", True)
        monkeypatch.setenv("MANYCORE_TEST", "2")
        monkeypatch.delenv("MANYCORE_OTHER")
        assert result_of(see, method=method) == ("2", "2\n", False)

    def test_the_standard_streams(self, method: str, capfd: pytest.CaptureFixture[str]) -> None:
        """Output goes where the parent's goes at that moment; standard input is empty."""

        def speak() -> str:
            sys.stdout.write("out\n")
            sys.stderr.write("err\n")
            return sys.stdin.read()

        assert result_of(speak, method=method) == ""
        assert capfd.readouterr() == ("out\n", "err\n")

    def test_the_signal_mask(self, method: str) -> None:
        """Signals that the starting thread blocks are blocked in the process."""
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        try:
            blocked = result_of(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, []), method=method)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        assert blocked == {signal.SIGUSR1}

    def test_the_cpus(self, method: str) -> None:
        """A parent that is bound to a CPU has children that are."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        try:
            assert result_of(lambda: os.sched_getaffinity(0), method=method) == {min(before)}
        finally:
            os.sched_setaffinity(0, before)

    def test_the_search_path_and_the_command_line(
        self, method: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """sys.path and sys.argv are the parent's."""
        monkeypatch.setattr(sys, "path", [*sys.path, "/nowhere/at/all"])
        monkeypatch.setattr(sys, "argv", ["tool", "--fast"])
        path, argv = result_of(lambda: (sys.path, sys.argv), method=method)
        assert (path[-1], argv) == ("/nowhere/at/all", ["tool", "--fast"])

    def test_handlers(self, method: str) -> None:
        """SIGINT is Python's, SIGTERM the system's, and no signal is handled by the template's."""
        under_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

        def see() -> list[Any]:
            numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP)
            usual = {signal.SIG_DFL, signal.default_int_handler}
            if under_nohup:
                usual.add(signal.SIG_IGN)
            return [signal.getsignal(n) in usual for n in numbers]

        assert result_of(see, method=method) == [True] * 4


class TestOddities:
    def test_a_directory_that_was_removed(self, tmp_path: Path) -> None:
        """A parent in a directory without a name has children there."""
        here = os.open(".", os.O_RDONLY)
        gone = tmp_path / "gone"
        gone.mkdir()
        os.chdir(gone)
        gone.rmdir()
        try:
            assert result_of(os.readlink, "/proc/self/cwd") == f"{gone} (deleted)"
        finally:
            os.fchdir(here)
            os.close(here)

    def test_closed_standard_streams(self) -> None:
        """A parent without standard streams, a daemon say, has children."""
        program = """
            import os, sys
            saved = os.dup(1)
            os.close(1); os.close(2); os.close(0)
            from manycore import Process
            p = Process(target=pow, args=(2, 5))
            p.start()
            os.write(saved, str(p.result()).encode())
            p.join()
        """
        assert run(program).stdout == "32"

    def test_nohup(self) -> None:
        """What the program was told to ignore, its processes ignore."""
        program = """
            import signal
            from manycore import Process
            p = Process(target=lambda: signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)
            p.start()
            print(p.result())
            p.join()
        """
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            assert run(program).stdout == "True\n"
        finally:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def test_descriptors_are_the_parents_own(self) -> None:
        """A process has its streams and what it was given: nothing of its parent or siblings."""

        def look() -> list[str]:
            paths = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
            return [os.readlink(path) for path in paths if os.path.exists(path)]

        with Process(target=time.sleep, args=(60,)):
            open_there = result_of(look)
        kinds = [name.partition(":")[0] for name in open_there]
        assert kinds.count("socket") <= 1  # its channel
        assert len(open_there) <= 8

    def test_exit_handlers_are_the_processs_own(self, tmp_path: Path) -> None:
        """A process runs the exit handlers that it registered, and no other's."""
        program = """
            import atexit, os, sys
            import manycore
            def say(word):
                os.write(1, word.encode() + b" ")
            atexit.register(say, "parent")
            for method in ("template", "fork", "spawn"):
                say_it = lambda: atexit.register(say, method)
                p = manycore.Process(target=say_it, start_method=method)
                p.start()
                p.join()
        """
        done = run(program, path=tmp_path)
        assert done.stdout == "template fork spawn parent "

    def test_coverage(self, tmp_path: Path) -> None:
        """coverage.py measures what runs in processes, however they were started."""
        pytest.importorskip("coverage")
        (tmp_path / "work.py").write_text(
            "def template():\n    return 1\n\ndef fork():\n    return 2\n\n"
            "def spawn():\n    return 3\n"
        )
        (tmp_path / ".coveragerc").write_text(
            "[run]\nparallel = true\npatch = subprocess, _exit\ninclude = work.py\n"
        )
        (tmp_path / "program.py").write_text(
            "import work\nfrom manycore import Process\nfor m in ('template', 'fork', 'spawn'):\n"
            "    p = Process(target=getattr(work, m), start_method=m)\n"
            "    p.start()\n    p.join()\n"
        )
        tool = [sys.executable, "-m", "coverage"]
        for words in (["run", "program.py"], ["combine", "-q"], ["report", "--fail-under=100"]):
            done = subprocess.run(
                [*tool, *words], cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr

    def test_modules_of_the_room_above_are_not_loaded(self) -> None:
        """A process has none of the command, the server or other heavy things in memory."""
        loaded = result_of(lambda: sorted(sys.modules))
        heavy = {"click", "psutil", "rich", "asyncio", "concurrent.futures.process", "logging"}
        with contextlib.suppress(ImportError):
            import setproctitle  # noqa: F401

            heavy -= {"logging"}
        assert heavy.isdisjoint(loaded)
        assert not [m for m in loaded if m.startswith(("manycore.cli", "manycore.server"))]
