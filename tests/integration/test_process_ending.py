"""How processes end: asked to, told to, with their parent, at the terminal's Ctrl-C."""

from __future__ import annotations

import contextlib
import linecache
import os
import pty
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import connection, current_process
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from eventually import interrupt_from_here
from manycore import Process
from manycore.base import child, family, signals
from manycore.process import life
from process_programs import PATIENCE, all_gone, begin, eventually, is_gone, numbers, run


@pytest.fixture(autouse=True)
def _no_terminal_left() -> Iterator[None]:
    yield
    while _terminals:  # what a test that failed left there
        pid, terminal = _terminals.pop()
        for someone in family.everybody():
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(someone) == pid:
                    os.kill(someone, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
            os.close(terminal)


_terminals: list[tuple[int, int]] = []


def with_programs(file: str, *, stubborn: bool) -> None:
    """Starts a program, and one in a session of its own, writes down who they are, and waits."""
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    programs = [subprocess.Popen(["sleep", "60"], start_new_session=new) for new in (False, True)]
    with open(file, "a") as out:
        print(os.getpid(), *(program.pid for program in programs), file=out, flush=True)
    time.sleep(60)


@contextlib.contextmanager
def interruption_at_line(number: int, *files: str, interrupt: Callable[[], None]) -> Iterator[None]:
    """Interrupts at a line of these files, counted from the first that the block runs."""
    left = number

    def look(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        nonlocal left
        if frame.f_code.co_filename not in files:
            return None
        # where a `with` ends there is a line too, but nobody looks at signals
        if event == "line" and not _line_of(frame).startswith("with "):
            left -= 1
            if left == -1:
                interrupt()
        return look

    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(None)


def interrupted_at_each_line_of_a_wait(method: str, interrupt: Callable[[], None]) -> None:
    """Joins processes, is interrupted at one line after the other, and asks once more."""
    handler = signal.getsignal(signal.SIGINT)
    for number in range(1000):
        process = Process(target=int, args=("42",), start_method=method)
        process.start()
        assert process.sentinel in connection.wait([process.sentinel])
        interrupted = False
        try:
            with interruption_at_line(
                number, child.__file__, signals.__file__, interrupt=interrupt
            ):
                process.join()
        except KeyboardInterrupt:
            interrupted = True
        assert process.result(PATIENCE) == 42
        assert process.exitcode == 0
        process.close()
        assert signal.getsignal(signal.SIGINT) is handler
        if not interrupted:
            break
    assert number > 20  # it has that many lines


def _line_of(frame: FrameType) -> str:
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()


class _Interrupting:
    """What cannot be sent before a Ctrl-C has come."""

    def __reduce__(self) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return super().__reduce__()


class Twice(_Interrupting, KeyboardInterrupt):
    """A Ctrl-C, followed by another."""


class FailedError(_Interrupting, ValueError):
    """A failure, followed by a Ctrl-C."""


class Returned(_Interrupting):
    """A result, followed by a Ctrl-C."""


def interrupted_as_it_returns() -> Returned:
    """Is interrupted while what it returns is written down."""
    return Returned()


def interrupted_twice() -> None:
    """Is interrupted, and once more while that is told of."""
    raise Twice


def interrupted_as_it_fails() -> None:
    """Is interrupted while its failure is told of."""
    raise FailedError


def interrupted_beside_a_thread() -> None:
    """Is interrupted while its failure is told of, and has another thread."""
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    raise FailedError


def interrupted_as_it_tells(number: int, file: str, error: Exception | None) -> int:
    """Is interrupted at a line of what tells how it ended, if it has so many."""

    def interrupt() -> None:
        Path(file).touch()
        interrupt_from_here()

    files = (life.__file__, signals.__file__)
    watch = interruption_at_line(number, *files, interrupt=interrupt)
    watch.__enter__()
    process = current_process()
    process.watch = watch  # type: ignore[attr-defined]  # it lasts as long as the process
    tracer: Any = sys.gettrace()
    frame: FrameType | None = sys._getframe()
    while frame is not None:  # those that run already
        frame.f_trace = tracer
        frame = None if frame.f_code.co_name == "run_and_tell" else frame.f_back
    if error is not None:
        raise error
    return 42


class TestStop:
    @pytest.mark.parametrize("method", ["template", "fork", "spawn"])
    @pytest.mark.parametrize("stubborn", [False, True])
    def test_the_whole_tree_ends(self, tmp_path: Path, method: str, *, stubborn: bool) -> None:
        """Stop ends the process and all it started, sessions of their own too."""
        file = tmp_path / "pids"
        process = Process(
            target=with_programs,
            args=(str(file),),
            kwargs={"stubborn": stubborn},
            start_method=method,
        )
        process.start()
        assert eventually(lambda: len(numbers(file)) == 3)
        process.stop(grace=0.1)
        assert process.exitcode == (-signal.SIGKILL if stubborn else -signal.SIGTERM)
        assert all_gone(numbers(file), within=1)

    def test_grace(self) -> None:
        """A process that tidies up at SIGTERM has the grace period for it."""

        def tidy_up(ready: Any) -> None:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))
            ready.send(1)
            time.sleep(60)

        from manycore import Pipe

        ours, theirs = Pipe()
        with Process(target=tidy_up, args=(theirs,)) as process:
            ours.recv()
        assert process.exitcode == 4
        ours.close()
        theirs.close()

    def test_with_stops_it_when_the_block_raises(self) -> None:
        """However the block is left, the process has ended after it."""
        process = Process(target=time.sleep, args=(60,))
        with pytest.raises(ZeroDivisionError), process:
            _ = 1 / 0
        assert process.exitcode == -signal.SIGTERM

    def test_stop_of_what_has_ended(self) -> None:
        """Stopping twice, or after the end, changes nothing."""
        process = Process(target=int)
        process.start()
        process.join()
        process.stop()
        process.stop()
        assert process.exitcode == 0

    def test_terminate_leaves_the_rest_alone(self, tmp_path: Path) -> None:
        """Terminate and kill mean what they mean in the standard library: the process alone."""
        file = tmp_path / "pids"
        process = Process(target=with_programs, args=(str(file),), kwargs={"stubborn": False})
        process.start()
        assert eventually(lambda: len(numbers(file)) == 3)
        process.terminate()
        process.join()
        programs = numbers(file)[1:]
        assert not any(map(is_gone, programs))
        for pid in programs:
            os.kill(pid, signal.SIGKILL)


BUSY_DAEMONS = """
    import hashlib, os, subprocess, sys, time
    from manycore import Process

    def busy(file):
        program = subprocess.Popen(["sleep", "60"])
        with open(file, "a") as out:
            print(os.getpid(), program.pid, file=out, flush=True)
        while True:
            hashlib.pbkdf2_hmac("sha256", b"in C, for minutes", b"", 500_000_000)

    def nested(file, method):
        inner = Process(target=busy, args=(file,), daemon=False, start_method=method)
        inner.start()
        busy(file)

    file, method, shape = sys.argv[1:]
    outer = busy if shape == "flat" else nested
    args = (file,) if shape == "flat" else (file, method)
    processes = [Process(target=outer, args=args, daemon=True, start_method=method) for _ in "12"]
    for process in processes:
        process.start()
    print("up", flush=True)
    time.sleep(60)
"""


class TestWithTheParent:
    @pytest.mark.parametrize("method", ["template", "fork", "spawn"])
    @pytest.mark.parametrize("shape", ["flat", "nested"])
    def test_kill_9(self, tmp_path: Path, method: str, shape: str) -> None:
        """A parent's death by SIGKILL ends its daemons, busy in C, and all they started."""
        file = tmp_path / "pids"
        parent = begin(BUSY_DAEMONS, str(file), method, shape)
        expected = 4 if shape == "flat" else 8
        assert eventually(lambda: len(numbers(file)) == expected)
        below = family.members(family.everybody(), [family.look_at(parent.pid)])  # type: ignore[list-item]
        parent.kill()
        parent.communicate()
        everyone = {*numbers(file), *(kin.pid for kin in below)}
        assert all_gone(everyone, within=1)

    def test_kill_9_while_copies_of_the_program_live(self, tmp_path: Path) -> None:
        """A forked copy of the program holds no lifeline: the daemons end all the same."""
        program = """
            import os, sys, time
            from manycore import Process
            process = Process(target=time.sleep, args=(60,), daemon=True)
            process.start()
            copy = os.fork()
            if copy == 0:
                time.sleep(60)
            print(process.pid, copy, file=open(sys.argv[1], "w"), flush=True)
            print("up", flush=True)
            time.sleep(60)
        """
        file = tmp_path / "pids"
        parent = begin(program, str(file))
        daemon, copy = numbers(file)
        parent.kill()
        parent.wait()
        assert all_gone([daemon], within=1)
        assert not is_gone(copy)
        os.kill(copy, signal.SIGKILL)
        parent.communicate()

    def test_without_a_template_too(self, tmp_path: Path) -> None:
        """The kernel alone suffices: with the template gone, daemons end with their parent."""
        program = """
            import os, signal, sys, time
            from manycore import Process
            from manycore.base import template
            process = Process(target=time.sleep, args=(60,), daemon=True)
            process.start()
            print(process.pid, file=open(sys.argv[1], "w"), flush=True)
            os.kill(template.current().pid, signal.SIGKILL)
            print("up", flush=True)
            time.sleep(60)
        """
        file = tmp_path / "pids"
        parent = begin(program, str(file))
        parent.kill()
        parent.communicate()
        assert all_gone(numbers(file), within=1)

    def test_one_that_is_no_daemon_lives_on(self, tmp_path: Path) -> None:
        """A process that is no daemon outlives a parent that was killed, as it always did."""
        program = """
            import os, sys, time
            from manycore import Process

            def work(file):
                print(os.getpid(), file=open(file, "w"), flush=True)
                os.read(0, 1)
                time.sleep(0.3)
                print(os.getpid(), os.getppid(), file=open(file, "a"), flush=True)

            Process(target=work, args=(sys.argv[1],)).start()
            print("up", flush=True)
            time.sleep(60)
        """
        file = tmp_path / "pids"
        parent = begin(program, str(file))
        assert eventually(lambda: len(numbers(file)) == 1)
        parent.kill()
        parent.communicate()
        assert eventually(lambda: len(numbers(file)) == 3)
        assert all_gone(numbers(file)[:1], within=1)

    def test_a_thread_may_start_it_and_end(self) -> None:
        """A daemon lives with the program, not with the thread that started it."""
        import threading

        process = Process(target=time.sleep, args=(60,), daemon=True)
        thread = threading.Thread(target=process.start)
        thread.start()
        thread.join()
        process.join(0.2)
        assert process.is_alive()
        process.stop()


class TestAtExit:
    def test_daemons_end_and_others_are_waited_for(self, tmp_path: Path) -> None:
        """The program's exit ends daemons with all they started, and waits for the rest."""
        program = """
            import subprocess, sys, time, os
            from manycore import Process

            def busy(file):
                program = subprocess.Popen(["sleep", "60"])
                with open(file, "a") as out:
                    print(os.getpid(), program.pid, file=out, flush=True)
                time.sleep(60)

            def work():
                time.sleep(0.3)
                print("worked", flush=True)

            Process(target=busy, args=(sys.argv[1],), daemon=True).start()
            Process(target=work).start()
            while not os.path.exists(sys.argv[1]) or not open(sys.argv[1]).read():
                time.sleep(0.01)
        """
        file = tmp_path / "pids"
        began = time.monotonic()
        done = run(program, str(file))
        assert (done.returncode, done.stdout, done.stderr) == (0, "worked\n", "")
        assert time.monotonic() - began < PATIENCE
        assert all_gone(numbers(file), within=1)

    def test_a_daemon_that_ignores_sigterm_does_not_keep_the_program(self) -> None:
        """The exit gives a stubborn daemon its grace and then kills it."""
        program = """
            import signal, time
            from manycore import Process
            from manycore.process import launch

            def stubborn(ready):
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                ready.send(1)
                time.sleep(60)

            import manycore
            ours, theirs = manycore.Pipe()
            launch.GRACE_AT_EXIT = 0.2
            Process(target=stubborn, args=(theirs,), daemon=True).start()
            ours.recv()
        """
        began = time.monotonic()
        done = run(program)
        assert (done.returncode, done.stderr) == (0, "")
        assert time.monotonic() - began < PATIENCE

    def test_the_template_ends_with_the_program(self, tmp_path: Path) -> None:
        """Nothing of a program is left after it, however it leaves."""
        for leave in ("pass", "os._exit(0)", "raise SystemExit(0)", "os.kill(os.getpid(), 9)"):
            program = f"""
                import os, sys
                from manycore import Process
                from manycore.base import template
                process = Process(target=int)
                process.start()
                process.join()
                print(template.current().pid, file=open(sys.argv[1], "w"), flush=True)
                {leave}
            """
            file = tmp_path / "pids"
            run(program, str(file))
            assert len(numbers(file)) == 1
            assert all_gone(numbers(file), within=1)


def in_a_terminal(program: str) -> tuple[int, int]:
    """Runs a program as the foreground job of a terminal of its own; its pid and the terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # whatever the tests themselves run under
        os.execv(sys.executable, [sys.executable, "-c", textwrap.dedent(program)])
    _terminals.append((pid, terminal))
    return pid, terminal


def read_until(terminal: int, words: str, text: str = "") -> str:
    while words not in text:
        if not select.select([terminal], [], [], PATIENCE)[0]:
            raise AssertionError(f"waited for {words!r} in vain: {text}")
        try:
            text += os.read(terminal, 10_000).decode()
        except OSError:  # the terminal's last process is gone
            break
    return text


CTRL_C = """
    import os, time
    from manycore import Process

    def work(number):
        os.write(1, b"up %d\\n" % number)  # in one piece
        for _ in range(600):  # a signal just before one long sleep would be seen after it
            time.sleep(0.1)

    processes = [Process(target=work, args=(n,), daemon=daemon, start_method={method!r})
                 for n, daemon in enumerate([False, False, True])]
    for process in processes:
        process.start()
    {then}
"""

BIRTHS = """
    import time
    from manycore import Process

    def work():
        for _ in range(600):  # a signal just before one long sleep would be seen after it
            time.sleep(0.1)

    print("begin", flush=True)
    for number in range(20):
        Process(target=work, start_method={method!r}).start()
    work()
"""


class TestCtrlC:
    @pytest.mark.parametrize("method", ["template", "fork", "spawn"])
    @pytest.mark.parametrize(
        "then", ["processes[0].join()", "processes[0].result()", "time.sleep(60)", "pass"]
    )
    def test_one_traceback(self, method: str, then: str) -> None:
        """Ctrl-C at the terminal ends the program and its processes, with one traceback."""
        pid, terminal = in_a_terminal(CTRL_C.format(method=method, then=then))
        text = ""
        # at the exit the daemon may have been ended already
        for number in range(2 if then == "pass" else 3):
            text = read_until(terminal, f"up {number}", text)
        below = family.members(family.everybody(), [family.look_at(pid)])  # type: ignore[list-item]
        began = time.monotonic()
        os.write(terminal, b"\x03")
        text = read_until(terminal, "an end that never comes", text)
        os.waitpid(pid, 0)
        os.close(terminal)
        assert time.monotonic() - began < 5
        assert all_gone([kin.pid for kin in below], within=1)
        assert text.count("KeyboardInterrupt") <= 1 + text.count("Exception ignored in atexit")
        assert text.count("Traceback") == 1, text

    @pytest.mark.parametrize("method", ["template", "fork", "spawn"])
    @pytest.mark.parametrize("after", [0.0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16])
    def test_while_processes_are_born(self, method: str, after: float) -> None:
        """At whatever moment of a start Ctrl-C comes, the program alone tells of it, and ends."""
        pid, terminal = in_a_terminal(BIRTHS.format(method=method))
        text = read_until(terminal, "begin")
        program = family.look_at(pid)
        assert program is not None
        time.sleep(after)  # any moment will do: it is the machine that decides what it meets
        below = family.members(family.everybody(), [program])
        os.write(terminal, b"\x03")
        text = read_until(terminal, "an end that never comes", text)
        os.waitpid(pid, 0)
        os.close(terminal)
        assert all_gone([kin.pid for kin in below], within=1)
        assert text.splitlines().count("KeyboardInterrupt") == 1, text
        assert "ignored" not in text

    @pytest.mark.parametrize("method", ["template", "fork", "spawn"])
    def test_twice_is_told_once(self, method: str, capfd: pytest.CaptureFixture[str]) -> None:
        """The second Ctrl-C comes while the first is told of."""
        process = Process(target=interrupted_twice, start_method=method)
        process.start()
        with pytest.raises(KeyboardInterrupt):
            process.result(timeout=PATIENCE)
        process.join()
        assert process.exitcode == 1
        assert "Traceback" not in capfd.readouterr().err

    @pytest.mark.parametrize("method", ["template", "fork", "spawn"])
    def test_while_a_result_is_written_down(
        self, method: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """The program alone tells of it."""
        process = Process(target=interrupted_as_it_returns, start_method=method)
        process.start()
        with pytest.raises(KeyboardInterrupt):
            process.result(timeout=PATIENCE)
        process.join()
        assert process.exitcode == 1
        assert "Traceback" not in capfd.readouterr().err

    @pytest.mark.parametrize("method", ["template", "fork", "spawn"])
    @pytest.mark.parametrize("target", [interrupted_as_it_fails, interrupted_beside_a_thread])
    def test_a_failure_is_told_of_all_the_same(self, method: str, target: Any) -> None:
        """A Ctrl-C meanwhile does not take its place, nor where another thread gets the signal."""
        process = Process(target=target, start_method=method)
        process.start()
        with pytest.raises(FailedError):
            process.result(timeout=PATIENCE)
        process.join()
        assert process.exitcode == 1

    @pytest.mark.parametrize("error", [None, ValueError("bad")])
    def test_at_any_line_of_the_telling(self, tmp_path: Path, error: Exception | None) -> None:
        """It is told whole, and once: as it ended, or that it was interrupted."""
        for number in range(1000):
            file = tmp_path / str(number)
            process = Process(
                target=interrupted_as_it_tells, args=(number, str(file), error), start_method="fork"
            )
            process.start()
            process.join(PATIENCE)
            try:
                assert process.result(PATIENCE) == 42
                assert process.exitcode == 0
            except (KeyboardInterrupt, ValueError):
                assert process.exitcode == 1
            process.close()
            if not file.exists():
                break
        assert number > 10  # it has that many lines

    def test_of_a_fork_it_is_told_once(self) -> None:
        """A fork that is under way misses the terminal's, so the parent hands it on, or both."""
        program = """
            import os, signal, time
            from multiprocessing import util
            from manycore import Process

            def exit_slowly(_):
                util.Finalize(None, time.sleep, args=(1,), exitpriority=1)

            def interrupt():
                os.killpg(0, signal.SIGINT)  # as the terminal does
                time.sleep(0.5)

            util.register_after_fork(util, exit_slowly)
            os.register_at_fork(after_in_parent=interrupt)
            Process(target=time.sleep, args=(60,), start_method="fork").start()
        """
        pid, terminal = in_a_terminal(program)
        text = read_until(terminal, "an end that never comes")
        os.waitpid(pid, 0)
        os.close(terminal)
        assert text.splitlines().count("KeyboardInterrupt") == 1, text

    @pytest.mark.parametrize("method", ["template", "fork"])
    def test_at_any_line_of_a_wait_nothing_is_lost(self, method: str) -> None:
        """The result and the exit code are there for the next who asks."""
        interrupted_at_each_line_of_a_wait(method, interrupt_from_here)

    def test_nor_where_another_thread_has_the_signal(self) -> None:
        """No mask of the main thread keeps its handler from running then."""
        with ThreadPoolExecutor(1) as other:
            interrupted_at_each_line_of_a_wait(
                "template", lambda: other.submit(interrupt_from_here).result()
            )

    def test_a_handler_in_the_process_is_called(self) -> None:
        """A process that handles the terminal's Ctrl-C itself is let."""
        program = """
            import signal, sys, time
            from manycore import Process

            def work():
                signal.signal(signal.SIGINT, lambda *_: (print("tidy", flush=True), sys.exit(0)))
                print("up", flush=True)
                time.sleep(60)

            process = Process(target=work)
            process.start()
            try:
                print("joins", flush=True)
                process.join()
            except KeyboardInterrupt:
                process.join()
                print("code", process.exitcode, flush=True)
        """
        pid, terminal = in_a_terminal(program)
        text = read_until(terminal, "joins", read_until(terminal, "up"))
        os.write(terminal, b"\x03")
        text = read_until(terminal, "code 0", text)
        assert "tidy" in text
        assert "code 0" in text
        os.waitpid(pid, 0)
        os.close(terminal)

    def test_ctrl_z_stops_all_and_fg_continues(self) -> None:
        """Ctrl-Z stops the processes with the program, and they go on with it."""
        program = """
            import time
            from manycore import Process
            process = Process(target=time.sleep, args=(60,), daemon=True)
            process.start()
            print("pid", process.pid, "up", flush=True)
            time.sleep(60)
        """
        pid, terminal = in_a_terminal(program)
        # the group of a session leader is orphaned and cannot be stopped by the terminal
        child = int(read_until(terminal, "up").split()[1])
        template_pid = next(kin.pid for kin in family.everybody().values() if kin.parent == pid)

        def state(of: int) -> str:
            kin = family.look_at(of)
            return kin.state if kin else "gone"

        os.kill(template_pid, signal.SIGTSTP)
        assert eventually(lambda: state(child) == "T" and state(template_pid) == "T")
        os.kill(template_pid, signal.SIGCONT)
        assert eventually(lambda: state(child) == "S" and state(template_pid) == "S")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
        assert all_gone([child, template_pid], within=1)
