"""Where a process may be started from, and how: no guard, no side effects, no fork bomb."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import manycore
from manycore import BootError, Process, SendError
from manycore.base import template
from manycore.base.channel import Channel, close_all
from process_programs import PATIENCE, eventually, run

UNGUARDED = """
    import sys, threading
    from manycore import Process

    print("main runs")
    FACTOR = 3

    class Base:
        def __init__(self, x):
            self.x = x
        def __eq__(self, other):
            return type(other) is type(self) and other.x == self.x

    class Scaled(Base):
        def scale(self):
            return Scaled(self.x * FACTOR)

    class Runner(Process):
        def run(self):
            return Scaled(8).scale()

    def scale(thing):
        return thing.scale()

    method = sys.argv[1] if len(sys.argv) > 1 else None
    bonus = 5
    results = []
    for target, args in [(scale, (Scaled(2),)), (lambda x: x + bonus, (1,)), (Scaled(4).scale, ())]:
        process = Process(target=target, args=args, start_method=method)
        process.start()
        results.append(process.result())
        process.join()
    runner = Runner(start_method=method)
    runner.start()
    results.append(runner.result())
    runner.join()
    print(results == [Scaled(6), 6, Scaled(12), Scaled(24)])
"""


class TestAnywhere:
    @pytest.mark.parametrize("method", ["template", "spawn", "fork", "forkserver"])
    def test_a_script_without_a_guard(self, tmp_path: Path, method: str) -> None:
        """A script needs no guard: its functions and classes travel, its body runs once."""
        done = run(UNGUARDED, method, path=tmp_path)
        assert (done.stdout, done.stderr) == ("main runs\nTrue\n", "")

    def test_standard_input(self) -> None:
        """`python - < script` works."""
        done = run(UNGUARDED, stdin=True)
        assert (done.stdout, done.stderr) == ("main runs\nTrue\n", "")

    def test_the_command_line(self) -> None:
        """`python -c` works."""
        done = run(UNGUARDED)
        assert (done.stdout, done.stderr) == ("main runs\nTrue\n", "")

    def test_the_interactive_prompt(self) -> None:
        """What was typed at the prompt can run in a process."""
        typed = (
            "from manycore import Process\nf = lambda x: x + 1\n\ndef g(x):\n    return f(x)\n\n"
        )
        typed += "p = Process(target=g, args=(41,))\np.start()\np.result()\np.join()\n"
        done = subprocess.run(
            [sys.executable, "-i", "-q"],
            input=typed, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.stdout.split() == ["42"]

    def test_a_module_run_with_m(self, tmp_path: Path) -> None:
        """`python -m package.module` works, and runs its body once."""
        (tmp_path / "package").mkdir()
        (tmp_path / "package" / "__init__.py").touch()
        (tmp_path / "package" / "module.py").write_text(textwrap.dedent(UNGUARDED))
        done = subprocess.run(
            [sys.executable, "-m", "package.module"],
            cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert (done.stdout, done.stderr) == ("main runs\nTrue\n", "")

    def test_a_cell_of_a_notebook(self) -> None:
        """Code that was compiled without a file, in a namespace that is `__main__`, works."""
        program = """
            import __main__
            cell = "def f(x):\\n    return helper(x)\\ndef helper(x):\\n    return x * 2\\n"
            exec(compile(cell, "<ipython-input-1>", "exec"), __main__.__dict__)
            from manycore import Process
            p = Process(target=f, args=(21,))
            p.start()
            print(p.result())
            p.join()
        """
        assert run(program).stdout == "42\n"

    def test_modules_are_imported_by_name(self, tmp_path: Path) -> None:
        """What is in a module beside the script is imported from there, not copied."""
        (tmp_path / "beside.py").write_text("def where():\n    return __file__, __name__\n")
        done = run(
            """
            import beside
            from manycore import Process
            p = Process(target=beside.where)
            p.start()
            print(p.result() == beside.where())
            p.join()
            """,
            path=tmp_path,
        )
        assert (done.stdout, done.stderr) == ("True\n", "")

    def test_a_file_in_the_directory_does_not_pass_for_a_module(self, tmp_path: Path) -> None:
        """The template is not fooled by the user's socket.py in the working directory."""
        for name in ("socket", "pickle", "typing", "multiprocessing"):
            (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')\n")
        program = "import manycore\np = manycore.Process(target=int)\np.start()\n"
        program += "print(p.result())\np.join()"
        done = subprocess.run(
            [sys.executable, "-P", "-c", program],
            cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert (done.stdout, done.stderr) == ("0\n", "")

    def test_from_a_forked_copy_of_the_program(self) -> None:
        """A forked copy starts processes with a template of its own."""

        def start_one() -> tuple[int, int]:
            inner = Process(target=os.getppid)
            inner.start()
            parent = inner.result()
            inner.join()
            return parent, template.current().pid

        process = Process(target=int)
        process.start()
        process.join()
        forked = Process(target=start_one, start_method="fork")
        forked.start()
        parent, its_template = forked.result()
        assert parent == its_template != template.current().pid
        forked.join()

    def test_a_template_that_is_killed_takes_no_start_along(self) -> None:
        """Whatever moment the template is killed at, every start gives a process that works."""
        over, wrong, given = threading.Event(), list[object](), list[int]()

        def start_some() -> None:
            while not over.is_set():
                process = Process(target=pow, args=(2, 10))
                try:
                    process.start()
                    given.append(process.result(PATIENCE))
                    process.join(PATIENCE)
                except BaseException as error:
                    wrong.append(error)

        threads = [threading.Thread(target=start_some) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(8):
            before = len(given)  # one that is killed while it boots, each time, is another story
            eventually(lambda: wrong or len(given) > before)  # noqa: B023  # called here
            time.sleep(number / 97)  # chance decides what the kill meets
            os.kill(template.current().pid, signal.SIGKILL)
        over.set()
        for thread in threads:
            thread.join()
        assert not wrong
        assert given
        assert set(given) == {1024}

    @pytest.mark.parametrize("method", ["template", "spawn"])
    def test_a_copy_that_another_thread_forks_keeps_nobody_waiting(
        self, monkeypatch: pytest.MonkeyPatch, method: str
    ) -> None:
        """Whoever was to make a process dies while a copy of the program holds its channel too."""
        real, held = Channel.pair, list[int]()

        def held_by_a_copy_too() -> tuple[Channel, Channel]:
            ours, theirs = real()
            held.append(os.dup(theirs.fileno()))
            return ours, theirs

        def kill(pid: int) -> None:
            os.kill(pid, signal.SIGKILL)

        monkeypatch.setattr(Channel, "pair", held_by_a_copy_too)
        process = Process(target=int, start_method=method)
        if method == "template":
            victim = template.current().pid
            os.kill(victim, signal.SIGSTOP)
            killing = threading.Timer(0.2, kill, [victim])
            killing.start()
            process.start()
            assert process.result(PATIENCE) == 0
            assert template.current().pid != victim
            process.join()
            killing.join()
        else:
            monkeypatch.setattr(sys, "executable", "/bin/false")
            with pytest.raises(BootError, match="a fresh interpreter exited 1"):
                process.start()
        close_all(held)

    def test_a_forked_copy_may_exit_as_it_likes(self) -> None:
        """A copy that ends as programs do neither waits for the processes nor ends them."""
        program = """
            import os, sys, time
            from manycore import Process, active_children
            processes = [Process(target=time.sleep, args=(60,), daemon=d) for d in (True, False)]
            for process in processes:
                process.start()
            copy = os.fork()
            if copy == 0:
                print(active_children(), flush=True)
                sys.exit(7)
            print(os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]))
            print([process.is_alive() for process in processes])
            for process in processes:
                process.stop()
        """
        done = run(program)
        assert (done.stdout, done.stderr) == ("[]\n7\n[True, True]\n", "")

    def test_processes_start_processes(self) -> None:
        """Processes may have children, daemons too."""

        def depth(n: int) -> int:
            if n == 0:
                return 0
            inner = Process(target=depth, args=(n - 1,))
            inner.start()
            result = inner.result() + 1
            inner.join()
            return int(result)

        process = Process(target=depth, args=(2,), daemon=True)
        process.start()
        assert process.result(PATIENCE) == 2
        process.join()


class TestUnsendable:
    @pytest.mark.parametrize("method", ["template", "spawn"])
    def test_it_says_what_and_where(self, method: str) -> None:
        """An object that cannot be sent is an error of start, which names the part of it."""
        lock = threading.Lock()

        class Holder:
            def __init__(self) -> None:
                self.inside = {"deep": [lock]}

        class Mine(Process):
            def __init__(self) -> None:
                super().__init__(start_method=method)
                self.connection = Holder()

        cases = {
            "args[1]": Process(target=print, args=(1, lock), start_method=method),
            "kwargs['end'].inside['deep'][0]": Process(
                target=print, kwargs={"end": Holder()}, start_method=method
            ),
            "connection.inside['deep'][0]": Mine(),
            "target (its variable 'lock')": Process(
                target=lambda: lock.acquire(),  # noqa: PLW0108
                start_method=method,
            ),
        }
        for path, process in cases.items():
            with pytest.raises(SendError) as caught:
                process.start()
            assert (
                str(caught.value) == f"{path} cannot be sent: cannot pickle '_thread.lock' object"
            )
            assert isinstance(caught.value, TypeError)
            assert process.pid is None

    def test_a_lock_of_the_standard_librarys_fork(self) -> None:
        """A lock that only a fork could share is refused, with what to do instead."""
        import multiprocessing

        lock = multiprocessing.get_context("fork").Lock()
        with pytest.raises(SendError, match=r"args\[0\] cannot be sent: .* manycore.Lock\(\)"):
            Process(target=int, args=(lock,)).start()

    def test_one_that_cannot_be_rebuilt(self, capfd: pytest.CaptureFixture[str]) -> None:
        """An object that fails on arrival is the process's failure, told with its traceback."""

        class Sour:
            def __reduce__(self) -> tuple[object, ...]:
                return int, ("sour",)

        process = Process(target=print, args=(Sour(),))
        process.start()
        with pytest.raises(ValueError, match="sour"):
            process.result()
        process.join()
        assert process.exitcode == 1
        assert "sour" in capfd.readouterr().err


class TestNoTemplate:
    @pytest.mark.parametrize("method", ["template", "spawn"])
    def test_an_interpreter_that_does_not_start(
        self, method: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When no interpreter can be started, start says so, and nothing is left."""
        template.stop()
        before = len(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(sys, "executable", "/bin/false")
        process = Process(target=int, start_method=method)
        with pytest.raises(manycore.BootError, match="exited 1"):
            process.start()
        assert process.pid is None
        assert len(os.listdir("/proc/self/fd")) == before
        monkeypatch.undo()
        process.start()
        assert process.result() == 0
        process.join()


class TestFork:
    def test_live_threads_are_named(self) -> None:
        """A fork of a process with threads warns, and names them."""
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait, name="telemetry")
        thread.start()
        process = Process(target=int, start_method="fork")
        with pytest.warns(RuntimeWarning, match=r"forked with live threads \(telemetry\)"):
            process.start()
        process.join()
        stop.set()
        thread.join()

    def test_the_template_does_not_care(self) -> None:
        """The default start under live threads that hold locks just works."""
        stop = threading.Event()

        def churn() -> None:
            while not stop.is_set():
                sys.stdout.flush()

        threads = [threading.Thread(target=churn) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for number in range(10):
                process = Process(target=print, args=("",), kwargs={"end": ""})
                process.start()
                process.join(PATIENCE)
                assert (number, process.exitcode) == (number, 0)
        finally:
            stop.set()
            for thread in threads:
                thread.join()


class TestDefaultMethod:
    def test_contexts(self) -> None:
        """A context's processes start by its method, and know it."""
        for method in manycore.get_all_start_methods():
            context = manycore.get_context(method)
            assert context.get_start_method() == method
            process = context.Process(target=pow, args=(2, 3))
            process.start()
            assert process.result() == 8
            process.join()
        with pytest.raises(ValueError, match="'thread'"):
            manycore.get_context("thread")

    def test_the_programs_default(self) -> None:
        """set_start_method decides for processes that say nothing, once, as ever."""
        program = """
            import manycore
            print(manycore.get_start_method(allow_none=True), manycore.get_start_method())
            manycore.set_start_method("spawn")
            process = manycore.Process(target=__import__("os").getppid)
            process.start()
            print(process.result() == __import__("os").getpid())
            try:
                manycore.set_start_method("fork")
            except RuntimeError as error:
                print(error)
            process.join()
        """
        expected = "None template\nTrue\ncontext has already been set\n"
        assert run(program).stdout == expected


class TestImporting:
    MODULE = """
        import manycore
        print("imported", flush=True)
        def work():
            pass
        process = manycore.Process(target=work, start_method={method!r})
        process.start()
        process.join()
        print("child", process.exitcode, flush=True)
    """

    @pytest.mark.parametrize("method", ["template", "spawn"])
    def test_no_fork_bomb(self, tmp_path: Path, method: str) -> None:
        """A module that starts a process as it is imported gets one error, not processes."""
        (tmp_path / "bomb.py").write_text(textwrap.dedent(self.MODULE.format(method=method)))
        done = run("import bomb", path=tmp_path)
        assert done.returncode == 0
        assert done.stdout == "imported\nimported\nchild 1\n"
        assert done.stderr.count("RuntimeError: a process is being started by a module while") == 1
        assert done.stderr.count("\nRuntimeError") == 1

    def test_the_standard_librarys_processes_too(self, tmp_path: Path) -> None:
        """The standard library's spawn in such a module gets its own error."""
        (tmp_path / "bomb.py").write_text(
            "import multiprocessing, manycore\ndef work(): pass\n"
            "def go():\n p = manycore.Process(target=work); p.start(); p.join()\n"
            "if manycore.parent_process() or __name__ != '__main__' and go.__module__ in "
            "__import__('sys').argv:\n pass\n"
            "p = multiprocessing.get_context('spawn').Process(target=work); p.start()\n"
        )
        done = run(
            "import manycore, pickle\nclass Late:\n"
            "    def __reduce__(self): return __import__, ('bomb',)\n"
            "p = manycore.Process(target=print, args=(Late(),))\np.start()\np.join()\n"
            "print(p.exitcode)",
            path=tmp_path,
        )
        assert done.stdout == "1\n"
        assert "before the\n        current process has finished its bootstrapping" in done.stderr


class TestPreload:
    def test_once_for_all(self, tmp_path: Path) -> None:
        """A preloaded module is imported once, before the processes that use it."""
        (tmp_path / "heavy.py").write_text(
            "import os\nwith open('imports', 'a') as f: f.write('x')\nPID = os.getpid()\n"
        )
        done = run(
            """
            import manycore
            from manycore.base import template
            manycore.preload("heavy")
            def where():
                import heavy
                return heavy.PID
            for _ in range(3):
                p = manycore.Process(target=where)
                p.start()
                print(p.result() == template.current().pid)
                p.join()
            """,
            path=tmp_path,
        )
        assert (done.stdout, done.stderr) == ("True\n" * 3, "")
        assert (tmp_path / "imports").read_text() == "x"

    def test_a_replaced_template_imports_it_too(self) -> None:
        """What was preloaded is preloaded in every later template."""
        manycore.preload("colorsys")
        template.stop()
        process = Process(target=lambda: "colorsys" in sys.modules)
        process.start()
        assert process.result() is True
        process.join()

    def test_a_module_that_is_not_there(self) -> None:
        """Preloading what cannot be imported raises here what it raises there."""
        with pytest.raises(ModuleNotFoundError, match="no_such_module") as caught:
            manycore.preload("no_such_module")
        assert "Traceback" in str(caught.value.__cause__)
        process = Process(target=int)
        process.start()
        assert process.result() == 0
        process.join()

    def test_threads_that_it_leaves_are_named(self, tmp_path: Path) -> None:
        """A module that starts threads when it is imported is warned of."""
        (tmp_path / "threaded.py").write_text(
            "import threading, time\n"
            "threading.Thread(target=time.sleep, args=(60,), name='poller', daemon=True).start()\n"
        )
        done = run(
            """
            import manycore
            manycore.preload("threaded")
            p = manycore.Process(target=int)
            p.start()
            print(p.result())
            p.join()
            """,
            path=tmp_path,
        )
        assert done.stdout == "0\n"
        assert "RuntimeWarning: preloading left threads running in the template (" in done.stderr
        assert "program.py:3" in done.stderr

    def test_different_numbers_in_each_process(self) -> None:
        """Processes of one template do not draw the same random numbers."""
        import random

        random.seed(1)
        manycore.preload("random")
        drawn = set()
        for _ in range(3):
            process = Process(target=lambda: __import__("random").random())
            process.start()
            drawn.add(process.result())
            process.join()
        assert len(drawn) == 3


def test_starting_does_not_wait_for_others() -> None:
    """Many processes that run at once are all started, from one template."""
    processes = [Process(target=time.sleep, args=(60,)) for _ in range(50)]
    for process in processes:
        process.start()
    assert all(process.is_alive() for process in processes)
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
        assert process.exitcode == -9
