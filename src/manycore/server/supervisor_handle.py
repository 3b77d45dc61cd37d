"""A program's view of the supervisor that it started in a process of its own."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from contextlib import ExitStack, suppress
from typing import Final

from manycore.base import kernel, signals
from manycore.base.interpreter import command
from manycore.base.lifetime import exit_in_words
from manycore.base.signals import Inbox
from manycore.errors import SupervisorLost
from manycore.supervise import nearing
from manycore.supervise.events import Failure
from manycore.supervise.report import decode
from manycore.supervise.roster import STOP_MARGIN, UNKILLABLE_AFTER
from manycore.supervise.supervisor import STOPS

from . import launch
from .job import Parcel

# seconds beyond the grace period
STOP_PATIENCE: Final = nearing.PATIENCE + STOP_MARGIN + UNKILLABLE_AFTER + 1.0
_READ_SIZE: Final = 65_536  # bytes: what a pipe holds


class SupervisorHandle:
    """One supervisor process: started, awaited, told to stop.

    Args:
        parcel: Its job. What tells of our death and carries its report is added here.
        inbox: Signals of this process to hand on to it while we wait for it.
    """

    def __init__(self, parcel: Parcel, inbox: Inbox | None = None) -> None:
        self._inbox = inbox
        with ExitStack() as undo:
            owned, self._owner = os.pipe()  # closing ours, by our death too, ends the server
            undo.callback(os.close, self._owner)
            undo.callback(os.close, owned)
            self._report, told = os.pipe()
            undo.callback(os.close, self._report)
            undo.callback(os.close, told)
            complete = parcel.with_pipes(owner=owned, report=told)
            fd = complete.pack()
            undo.callback(os.close, fd)
            with signals.blocked(STOPS):  # one that comes early waits until it can be taken
                self._process = subprocess.Popen(
                    command(launch.__name__, fd),
                    stdin=subprocess.DEVNULL,
                    pass_fds=(fd, *complete.descriptors()),
                    process_group=0,  # Ctrl-C is the program's to take, and to hand on
                )
            undo.pop_all()
        for theirs in (owned, told, fd):
            os.close(theirs)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def await_ready(self, timeout: float) -> bool:
        """Waits until every worker is ready; False if it was told to stop before.

        Args:
            timeout: Seconds until it is given up.

        Raises:
            TargetError, BootError: When that is why it ended.
            SupervisorLost: When it ended otherwise, or says nothing for too long.
        """
        deadline = time.monotonic() + timeout
        received = b""
        while not received.endswith(b"\n"):
            if not self._wait_for(self._report, deadline):
                raise SupervisorLost(self.pid, "did not become ready")
            chunk = os.read(self._report, _READ_SIZE)
            if not chunk:
                if self._process.wait() == 0:
                    return False
                raise SupervisorLost(self.pid, exit_in_words(self._process.returncode))
            received += chunk
        report = decode(received)
        if isinstance(report, Failure):
            self._process.wait()
            raise launch.as_error(report)
        if report is None:
            raise SupervisorLost(self.pid, "sent a report that cannot be read")
        return True

    def wait(self, timeout: float | None) -> bool:
        """Waits for its end; False if that does not come in time.

        Raises:
            TargetError, BootError: When no worker could boot any more.
            SupervisorLost: When it ended otherwise without having been asked to.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._process.poll() is None:
            # only the supervisor has the report's other end
            ended = os.pidfd_open(self.pid) if kernel.HAS_PIDFD else os.dup(self._report)
            try:
                if not self._wait_for(ended, deadline):
                    return False
            finally:
                os.close(ended)
        code = self._process.wait()
        if code == 0:
            return True
        report = decode(os.read(self._report, _READ_SIZE))  # its end has come: this cannot block
        if isinstance(report, Failure):
            raise launch.as_error(report)
        raise SupervisorLost(self.pid, exit_in_words(code))

    def _wait_for(self, fd: int, deadline: float | None) -> bool:
        """Waits until a descriptor is readable, and hands signals on meanwhile."""
        with selectors.DefaultSelector() as selector:
            selector.register(fd, selectors.EVENT_READ)
            if self._inbox is not None:
                selector.register(self._inbox, selectors.EVENT_READ)
            while True:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                events = selector.select(left)
                if self._inbox is not None:
                    for signum in self._inbox.take():
                        self._process.send_signal(signum)
                if any(key.fd == fd for key, _ in events):
                    return True
                if not events and left is not None:
                    return False

    def stop(self, *, quick: bool, timeout: float) -> None:
        """Tells it to stop, and waits until it has; after the timeout it is killed.

        Raises:
            SupervisorLost: When it had ended before, and not as it was asked to.
        """
        had_ended = self._process.poll()
        self._process.send_signal(signal.SIGQUIT if quick else signal.SIGTERM)
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        finally:
            self.end()
        if had_ended:
            raise SupervisorLost(self.pid, exit_in_words(had_ended))

    def end(self) -> None:
        """Kills it if it still runs, and lets go of it."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._owner)
        os.close(self._report)
