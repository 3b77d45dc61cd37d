"""What comes back: a value, an exception with its traceback, or why nothing came."""

from __future__ import annotations

import concurrent.futures.process
import os
import signal
import threading
import time
from typing import Any

import pytest

from manycore import Process, RemoteError, SendError, WorkerLost
from manycore.base import template
from manycore.base.failures import RemoteTraceback
from process_programs import PATIENCE, is_gone

METHODS = ["template", "fork", "spawn"]


def result_of(target: Any, *args: Any, **options: Any) -> Any:
    process = Process(target=target, args=args, **options)
    process.start()
    try:
        return process.result(PATIENCE)
    finally:
        process.join(PATIENCE)


class Refused(Exception):  # noqa: N818
    """Its constructor does not take its own args."""

    def __init__(self, card: str, code: int) -> None:
        super().__init__(f"{card} refused")
        self.code = code


class Careless(Process):
    """Fails in what its own `run` calls."""

    def run(self) -> None:
        self.fail()

    def fail(self) -> None:
        raise ValueError("careless")


class TestValues:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("size", [0, 1, 32_768, 65_536, 5_000_000])
    def test_any_size(self, method: str, size: int) -> None:
        """A value of any size comes back, by every start method."""
        data = os.urandom(size)
        assert result_of(lambda x: x[::-1], data, start_method=method) == data[::-1]

    def test_a_value_nobody_asks_for_keeps_nobody(self) -> None:
        """A big value does not keep the process from ending, nor join from returning."""
        process = Process(target=bytes, args=(50_000_000,))
        process.start()
        process.join(PATIENCE)
        assert process.exitcode == 0
        assert len(process.result()) == 50_000_000

    def test_it_comes_before_the_end(self) -> None:
        """The result is there when the target has returned, while a thread keeps the process."""

        def leave_a_thread() -> int:
            threading.Thread(target=time.sleep, args=(60,)).start()
            return 1

        with Process(target=leave_a_thread) as process:
            assert process.result(PATIENCE) == 1
            assert process.is_alive()

    def test_twice_the_same(self) -> None:
        """Asking again gives the same object again, also after the end."""
        process = Process(target=list, args=("ab",))
        process.start()
        first = process.result()
        process.join()
        assert process.result() is first
        assert first == ["a", "b"]

    def test_not_in_time(self) -> None:
        """A result that is not there in time is a TimeoutError, and the process goes on."""
        with Process(target=time.sleep, args=(60,), name="slow") as process:
            with pytest.raises(TimeoutError, match=r"slow .* has no result after 0.01 s"):
                process.result(0.01)
            assert process.is_alive()

    def test_a_value_that_cannot_be_sent(self) -> None:
        """The process ends well; who asks for the value hears which part of it cannot be sent."""
        process = Process(target=lambda: {"lock": [threading.Lock()]})
        process.start()
        with pytest.raises(SendError, match=r"the result\['lock'\]\[0\] cannot be sent: cannot"):
            process.result()
        process.join()
        assert process.exitcode == 0

    def test_classes_of_the_caller_come_back_as_themselves(self) -> None:
        """An instance of a class that travelled by value is an instance of the original."""

        class Point:
            def __init__(self, x: int) -> None:
                self.x = x

        point = result_of(lambda x: Point(x), 3)  # noqa: PLW0108
        assert isinstance(point, Point)
        assert point.x == 3


class TestExceptions:
    def test_the_traceback_begins_with_the_run_of_a_subclass(self) -> None:
        """That is the user's code, and not hidden with ours."""
        process = Careless()
        process.start()
        with pytest.raises(ValueError, match="careless") as caught:
            process.result(PATIENCE)
        process.join()
        assert "in run\n" in str(caught.value.__cause__)

    @pytest.mark.parametrize("method", METHODS)
    def test_it_is_raised_with_the_remote_traceback(
        self, method: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """What the target raised is raised, and its cause shows where that was."""

        def fail() -> None:
            os.environ["MISSING"]

        with pytest.raises(KeyError, match="MISSING") as caught:
            result_of(fail, start_method=method)
        cause = caught.value.__cause__
        assert isinstance(cause, RemoteTraceback)
        assert 'os.environ["MISSING"]' in str(cause)
        assert "KeyError: 'MISSING'" in str(cause)
        assert "life.py" not in str(cause)
        assert "KeyError: 'MISSING'" in capfd.readouterr().err

    def test_its_own_cause_is_in_the_text(self) -> None:
        """The chain of what led to an exception is in the remote traceback."""

        def fail() -> None:
            try:
                int("x")
            except ValueError as error:
                raise RuntimeError("no number") from error

        with pytest.raises(RuntimeError, match="no number") as caught:
            result_of(fail)
        assert "ValueError: invalid literal" in str(caught.value.__cause__)

    def test_one_that_cannot_be_replayed(self) -> None:
        """An exception that its own args do not make arrives as RemoteError, with all it said."""

        def refuse() -> None:
            raise Refused("visa", 402)

        with pytest.raises(RemoteError) as caught:
            result_of(refuse)
        assert caught.value.type_name.endswith("Refused")
        assert caught.value.arguments == ("'visa refused'",)
        assert "raise Refused" in caught.value.traceback

    def test_one_of_a_local_class(self) -> None:
        """An exception class that the child could not import is still itself on return."""

        class LocalError(Exception):
            pass

        def fail() -> None:
            raise LocalError("here", 1)

        with pytest.raises(LocalError) as caught:
            result_of(fail)
        assert caught.value.args == ("here", 1)

    def test_notes_travel(self) -> None:
        """What was added to an exception by add_note arrives."""

        def fail() -> None:
            error = ValueError("x")
            error.add_note("while reading row 7")
            raise error

        with pytest.raises(ValueError, match="x") as caught:
            result_of(fail)
        assert caught.value.__notes__ == ["while reading row 7"]

    def test_one_that_cannot_even_be_shown(self) -> None:
        """An exception whose str and repr raise does not stop the report."""

        class MuteError(Exception):
            def __str__(self) -> str:
                raise ZeroDivisionError

            __repr__ = __str__

        def fail() -> None:
            raise MuteError(threading.Lock())

        with pytest.raises(RemoteError) as caught:
            result_of(fail)
        assert caught.value.type_name.endswith("MuteError")


class TestLost:
    @pytest.mark.parametrize("method", METHODS)
    def test_killed(self, method: str) -> None:
        """A killed process is a WorkerLost that says who and how."""
        process = Process(target=time.sleep, args=(60,), name="victim", start_method=method)
        process.start()
        pid = process.pid
        process.kill()
        with pytest.raises(WorkerLost) as caught:
            process.result(PATIENCE)
        assert str(caught.value) == f"victim (pid {pid}) was killed by SIGKILL"
        assert (caught.value.pid, caught.value.exit) == (pid, "killed by SIGKILL")
        assert caught.value.exitcode == -signal.SIGKILL
        assert isinstance(caught.value, concurrent.futures.process.BrokenProcessPool)
        process.join()

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("leave", [os._exit, exit])
    def test_exited(self, method: str, leave: Any) -> None:
        """A process that leaves with an exit code delivered nothing."""
        with pytest.raises(WorkerLost, match="exited 3: without a result") as caught:
            result_of(leave, 3, start_method=method)
        assert caught.value.exitcode == 3

    def test_it_is_noticed_at_once(self) -> None:
        """Death is an event: nobody waits for a poll."""
        took = []
        for _ in range(5):
            process = Process(target=time.sleep, args=(60,))
            process.start()
            os.kill(process.pid or 0, signal.SIGKILL)
            began = time.monotonic()
            with pytest.raises(WorkerLost):
                process.result()
            took.append(time.monotonic() - began)
            process.join()
        assert min(took) < 0.1

    def test_in_the_middle_of_the_result(self) -> None:
        """A process that dies while it packs its result is lost, and nobody hangs."""

        class Deadly:
            def __reduce__(self) -> Any:
                os.kill(os.getpid(), signal.SIGKILL)

        with pytest.raises(WorkerLost, match="killed by SIGKILL"):
            result_of(lambda: Deadly())  # noqa: PLW0108

    def test_after_the_result(self) -> None:
        """A result that was delivered stays, however the process ends then."""

        def deliver_and_die() -> int:
            import atexit

            atexit.register(os.kill, os.getpid(), signal.SIGKILL)
            return 9

        process = Process(target=deliver_and_die)
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert process.result() == 9


class TestTemplateLost:
    def test_running_processes_go_on(self) -> None:
        """The template's death takes nobody along and loses no result."""

        def work() -> int:
            time.sleep(0.3)
            return 4

        process = Process(target=work)
        process.start()
        os.kill(template.current().pid, signal.SIGKILL)
        assert process.result(PATIENCE) == 4
        process.join(PATIENCE)
        assert process.exitcode == 0

    def test_the_next_one_gets_a_new_template(self) -> None:
        """A dead template is replaced when the next process starts."""
        assert result_of(int) == 0
        first = template.current().pid
        os.kill(first, signal.SIGKILL)
        assert result_of(int) == 0
        assert template.current().pid != first

    def test_a_death_nobody_saw_is_told_as_such(self) -> None:
        """When nobody is left who saw how a process ended, that is what is said."""
        process = Process(target=time.sleep, args=(60,))
        process.start()
        pid = process.pid or 0
        os.kill(template.current().pid, signal.SIGKILL)
        process.kill()
        with pytest.raises(WorkerLost, match="nobody saw how: the template process had ended"):
            process.result(PATIENCE)
        process.join()
        assert process.exitcode == 255
        assert is_gone(pid)
