"""The standard library's face: the same names, the same meaning, the same misuse."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from typing import Any

import pytest

import manycore
from manycore import Process
from process_programs import PATIENCE, eventually


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class TestFace:
    def test_from_start_to_close(self) -> None:
        """A process has no id before it starts, an exit code when it has ended, then nothing."""
        process = Process(target=time.sleep, args=(60,), name="sleeper")
        assert (process.pid, process.ident, process.exitcode) == (None, None, None)
        assert not process.is_alive()
        process.start()
        assert process.pid == process.ident != os.getpid()
        assert process.is_alive()
        assert process.exitcode is None
        assert process.name == "sleeper"
        assert process in manycore.active_children()
        process.terminate()
        process.join()
        assert process.exitcode == -signal.SIGTERM
        assert not process.is_alive()
        assert process not in manycore.active_children()
        process.close()
        with pytest.raises(ValueError, match="closed"):
            process.is_alive()

    def test_it_is_a_standard_process(self) -> None:
        """Code that asks for the standard library's class, or its children, finds ours."""
        process = Process(target=time.sleep, args=(60,))
        assert isinstance(process, multiprocessing.Process)
        with process:
            assert multiprocessing.active_children() == [process]

    def test_repr_shows_the_state(self) -> None:
        """The repr says what the standard library's says."""
        process = Process(target=os._exit, args=(3,), name="x", daemon=True)
        assert repr(process) == f"<Process name='x' parent={os.getpid()} initial daemon>"
        process.start()
        pid = process.pid
        process.join()
        expected = f"<Process name='x' pid={pid} parent={os.getpid()} stopped exitcode=3 daemon>"
        assert repr(process) == expected

    @pytest.mark.parametrize("method", ["template", "fork", "spawn", "forkserver"])
    def test_exit_codes(self, method: str) -> None:
        """A return is 0, an exception 1, sys.exit what it says, a signal negative."""

        def leave(how: str) -> None:
            if how == "raise":
                raise KeyboardInterrupt  # the one that prints nothing
            if how == "exit":
                raise SystemExit(7)
            if how == "text":
                raise SystemExit("enough")
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)

        codes = {}
        for how in ("return", "raise", "exit", "text", "kill"):
            process = Process(target=leave, args=(how,), start_method=method)
            process.start()
            process.join(PATIENCE)
            codes[how] = process.exitcode
        assert codes == {"return": 0, "raise": 1, "exit": 7, "text": 1, "kill": -9}

    def test_a_subclass_with_run_and_state(self) -> None:
        """A subclass's run is what the process does, with the state that it had at the start."""

        class Sum(Process):
            def __init__(self, numbers: list[int]) -> None:
                super().__init__(name="sum")
                self.numbers = numbers

            def run(self) -> Any:
                return sum(self.numbers), type(self).__name__

        process = Sum([1, 2])
        process.numbers.append(3)
        process.start()
        assert process.result() == (6, "Sum")
        process.join()

    def test_inside_it_knows_itself_and_its_parent(self) -> None:
        """current_process and parent_process mean in the process what they always meant."""

        def who() -> tuple[Any, ...]:
            me, parent = manycore.current_process(), manycore.parent_process()
            assert parent is not None
            alive = parent.is_alive()
            return me.name, me.pid == os.getpid(), me.daemon, parent.pid, parent.name, alive

        process = Process(target=who, name="inner", daemon=True)
        process.start()
        assert process.result() == ("inner", True, True, os.getpid(), "MainProcess", True)
        process.join()

    def test_the_authentication_key_is_inherited(self) -> None:
        """Listener and Client of parent and child trust each other, as ever."""
        process = Process(target=lambda: bytes(manycore.current_process().authkey))
        process.start()
        assert process.result() == bytes(manycore.current_process().authkey)
        process.join()

    def test_the_sentinel_can_be_waited_on(self) -> None:
        """multiprocessing.connection.wait sees the end, also after it was seen before."""
        process = Process(target=time.sleep, args=(60,))
        process.start()
        assert multiprocessing.connection.wait([process.sentinel], 0) == []
        process.kill()
        assert multiprocessing.connection.wait([process.sentinel], PATIENCE) == [process.sentinel]
        assert process.exitcode == -signal.SIGKILL
        assert multiprocessing.connection.wait([process.sentinel], 0) == [process.sentinel]
        process.join()

    def test_join_with_a_timeout(self) -> None:
        """Join returns when its time is up, and the process goes on."""
        with Process(target=time.sleep, args=(60,)) as process:
            process.join(0.01)
            assert process.is_alive()

    def test_names_count_as_ever(self) -> None:
        """Names are given by class and number, and inside a process by its number too."""
        first, second = Process(), Process()
        number = int(first.name.rpartition("-")[2])
        assert second.name == f"Process-{number + 1}"


class TestMisuse:
    def test_start_twice(self) -> None:
        """A process starts once."""
        process = Process(target=int)
        process.start()
        with pytest.raises(AssertionError, match="cannot start a process twice"):
            process.start()
        process.join()

    def test_before_the_start(self) -> None:
        """Nothing can be joined or given before the start, and nothing has a sentinel."""
        process = Process(target=int)
        with pytest.raises(AssertionError, match="can only join a started process"):
            process.join()
        with pytest.raises(AssertionError, match="result of a started process"):
            process.result()
        with pytest.raises(AssertionError, match="look at a started process"):
            process.statistics()
        with pytest.raises(ValueError, match="process not started"):
            _ = process.sentinel
        with pytest.raises(AttributeError):
            process.terminate()
        process.stop()  # like `with`, it wants it gone, and it is

    def test_of_another_parent(self) -> None:
        """A copy of the program has no say over the program's processes."""
        with Process(target=time.sleep, args=(60,)) as process:

            def try_everything() -> list[str]:
                said = []
                for act in (process.join, process.kill, process.terminate, process.stop,
                            process.result, process.is_alive, process.statistics):  # fmt: skip
                    try:
                        act()
                    except AssertionError as error:
                        said.append(str(error))
                return said

            forked = Process(target=try_everything, start_method="fork")
            forked.start()
            said = forked.result()
            assert said == [
                "can only join a child process",
                "can only end a child process",
                "can only end a child process",
                "can only end a child process",
                "can only get the result of a child process",
                "can only test a child process",
                "can only look at a child process",
            ]
            assert process.is_alive()
            forked.join()

    def test_arguments(self) -> None:
        """Wrong arguments are refused when the process is made."""
        with pytest.raises(AssertionError, match="group argument must be None"):
            Process(group=1)  # type: ignore[arg-type]
        with pytest.raises(AssertionError, match="name must be a string"):
            Process().name = 3  # type: ignore[assignment]
        with pytest.raises(ValueError, match="start method 'thread'"):
            Process(start_method="thread")
        with pytest.raises(TypeError):
            Process(args=3)  # type: ignore[arg-type]

    def test_daemon_after_the_start(self) -> None:
        """What a process is cannot be changed while it runs."""
        with (
            Process(target=time.sleep, args=(60,)) as process,
            pytest.raises(AssertionError, match="already started"),
        ):
            process.daemon = True

    def test_close_while_it_runs(self) -> None:
        """A process that runs cannot be closed."""
        with (
            Process(target=time.sleep, args=(60,)) as process,
            pytest.raises(ValueError, match="while it is still running"),
        ):
            process.close()
        process.close()


class TestManyAtOnce:
    def test_from_many_threads(self) -> None:
        """Threads may start and join processes at once; each gets its own result."""
        results: dict[int, int] = {}

        def work(number: int) -> None:
            process = Process(target=pow, args=(number, 2))
            process.start()
            results[number] = process.result(PATIENCE)
            process.join()

        threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {n: n * n for n in range(16)}

    def test_many_threads_wait_for_one(self) -> None:
        """Any number of threads may join one process and ask for its result; all are told."""
        reader, writer = os.pipe()

        process = Process(target=lambda fd: os.read(fd.detach(), 1) and 5, args=(passed(reader),))
        process.start()
        told: list[object] = []
        waits: list[Any] = [process.join, process.result] * 4
        threads = [threading.Thread(target=lambda w=w: told.append(w(PATIENCE))) for w in waits]
        for thread in threads:
            thread.start()
        os.write(writer, b"!")
        for thread in threads:
            thread.join()
        assert sorted(told, key=str) == [5] * 4 + [None] * 4
        assert process.exitcode == 0
        for fd in (reader, writer):
            os.close(fd)

    def test_nothing_is_left_open(self) -> None:
        """Processes that have ended and are forgotten hold no descriptor and no child."""
        first = Process(target=int)
        first.start()
        first.join()
        first = Process()
        manycore.active_children()
        before = descriptors()
        for _ in range(20):
            process = Process(target=int)
            process.start()
            process.join()
        process = first = Process()
        assert eventually(lambda: descriptors() <= before)
        assert threading.active_count() == 1


def passed(fd: int) -> Any:
    """Wraps a descriptor so that it can be an argument, as sockets and pipes do."""
    return Passed(fd)


class Passed:
    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing import reduction

        return _same, (reduction.DupFd(self.fd),)


def _same(value: Any) -> Any:
    return value
