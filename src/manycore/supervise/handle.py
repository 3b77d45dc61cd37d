"""The parent's view of one worker process, and the first and last steps of its life.

What runs in between, the worker's own life, is given by whoever is supervised.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NoReturn, TypeAlias

from manycore.base import kernel, lifetime, signals, stackfile, stacks
from manycore.base.stackfile import StackFile
from manycore.base.streams import let_go_of_stdin
from manycore.errors import ExitCode

from .events import Failure, Spawn, Urgency
from .report import Report, decode, encode

log = logging.getLogger("manycore.supervise")

Tell: TypeAlias = Callable[[Report], None]
Life: TypeAlias = Callable[[Tell], int]
"""A worker's life: it is given a way to report that it is ready, or why not; its exit code."""

_SIGNALS = {
    Urgency.GRACEFUL: signal.SIGTERM,
    Urgency.QUICK: signal.SIGQUIT,
    Urgency.ABORT: signal.SIGABRT,
    Urgency.NOW: signal.SIGKILL,
}
EXIT_PATIENCE = 5  # seconds for what the target registered with atexit; then SIGALRM ends it
_READ_SIZE = 65_536  # bytes: what a pipe holds


class WorkerHandle:
    """One forked worker: its id, what tells of its death, and its report.

    Attributes:
        order: What it was started for: its name and its place.
        pid: Its process id, which is ours to use until `reap`.
        pidfd: Readable when the process has ended; -1 where the kernel has none, and tells by
            SIGCHLD.
        report: The read end of the pipe that it reports through.
        stack_file: Where it answers who asks for its stacks.
    """

    def __init__(
        self, order: Spawn, pid: int, report: int, lifeline: int, stack_file: StackFile
    ) -> None:
        self.order = order
        self.pid = pid
        self.report = report
        self.stack_file = stack_file
        self._lifeline = lifeline  # closing it, by our death too, kills the worker
        self.was_ready = False
        self.told = False
        self.failed = False  # it said why it cannot become ready
        self._received = b""
        self._status: int | None = None  # how it ended, if that was taken before `reap`
        self.pidfd = os.pidfd_open(pid) if kernel.HAS_PIDFD else -1

    @classmethod
    def fork(
        cls, order: Spawn, life: Life, inbox: signals.Inbox, private: Iterable[int]
    ) -> WorkerHandle:
        """Starts a worker.

        Args:
            order: What it is started for.
            life: What the child does; its return value becomes the exit code.
            inbox: The parent's signals, which the child does not share.
            private: The parent's descriptors, which the child closes.

        Raises:
            OSError: When there is no room for a process or its descriptors.
        """
        parent = os.getpid()
        pipes: list[int] = []
        stack_file = StackFile()
        try:
            pipes.extend(os.pipe())
            pipes.extend(os.pipe())
            os.set_blocking(pipes[0], False)
            # a signal that arrives in the child before its handlers are reset must wait
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                pid = os.fork()
                if pid == 0:
                    _be_born(order, life, inbox, private, pipes, stack_file, parent)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        except BaseException:
            for fd in pipes:
                os.close(fd)
            stack_file.close()
            raise
        report, child_report, child_lifeline, lifeline = pipes
        os.close(child_report)
        os.close(child_lifeline)
        with suppress(OSError):  # the child does the same: whoever is first
            os.setpgid(pid, pid)
        try:
            return cls(order, pid, report, lifeline, stack_file)
        except OSError:  # no descriptor left for the pidfd
            os.close(report)
            os.close(lifeline)
            stack_file.close()
            os.waitpid(pid, 0)
            raise

    def descriptors(self) -> list[int]:
        """What the parent holds of it, and no other child may."""
        fds = [self.pidfd, self.report, self._lifeline, self.stack_file.fd]
        return [fd for fd in fds if fd >= 0]

    def tell(self, urgency: Urgency) -> None:
        """Tells the worker to stop; at the last urgency, kills it and what it started."""
        self.told = True
        if urgency is Urgency.NOW:
            lifetime.end_group(self.pid)
        self.send_signal(_SIGNALS[urgency])

    def send_signal(self, signum: signal.Signals) -> None:
        """Sends the worker a signal."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signum)

    def read_reports(self) -> tuple[list[Report], bool]:
        """Reads what the worker reported, without blocking.

        Returns:
            The reports that are whole, and whether more may come.
        """
        try:
            chunk = os.read(self.report, _READ_SIZE)
        except BlockingIOError:
            return [], True
        *lines, self._received = (self._received + chunk).split(b"\n")
        reports = [report for line in lines if (report := decode(line)) is not None]
        self.failed = self.failed or any(isinstance(report, Failure) for report in reports)
        return reports, bool(chunk)

    def has_ended(self) -> bool:
        """Looks whether it has; to be asked where there is no pidfd, and to be reaped then."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid:
            self._status = status
        return bool(pid)

    def reap(self) -> int | None:
        """Ends what the dead worker left running and takes its exit code.

        Returns:
            Negative for a signal; None when somebody else took it (SIGCHLD set to be ignored).
        """
        lifetime.end_group(self.pid)  # before the wait: until then the id cannot be another's
        try:
            status = os.waitpid(self.pid, 0)[1] if self._status is None else self._status
            code = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            code = None
        for fd in self.descriptors():
            os.close(fd)
        return code


def _be_born(
    order: Spawn,
    life: Life,
    inbox: signals.Inbox,
    private: Iterable[int],
    pipes: list[int],
    stack_file: StackFile,
    parent: int,
) -> NoReturn:
    """The child, from fork to exit. Nothing of it may reach the parent's code."""
    code: int = ExitCode.FAILED
    try:
        parents_report, report, lifeline, parents_lifeline = pipes
        inbox.use_defaults()
        lifetime.die_with_parent(parent, lifeline)
        stacks.begin_here()
        stackfile.arm(stack_file.fd)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for fd in (*private, parents_report, parents_lifeline):
            os.close(fd)
        let_go_of_stdin()
        atexit._clear()  # what the parent registered is the parent's to do  # noqa: SLF001

        def tell(message: Report) -> None:
            os.write(report, encode(message))  # blocks, if at all, until the parent has read it

        code = life(tell)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else ExitCode.FAILED
    except BaseException:
        log.exception("worker %d ends", order.number)
    finally:
        _exit(code)


def _exit(code: int) -> NoReturn:
    """Ends the process as an interpreter would, but waits for no thread and nothing for long."""
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(EXIT_PATIENCE)
        atexit._run_exitfuncs()  # noqa: SLF001
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except BaseException:  # noqa: S110  # a full disk, a closed pipe: the exit code says enough
        pass
    finally:
        os._exit(code)
