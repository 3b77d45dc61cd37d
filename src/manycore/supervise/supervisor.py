"""Does what the rules say: forks, signals, reaps. One thread, one wait, no wake-up for nothing.

The supervisor must run in a process with a single thread, since it forks, and in the main thread,
since it takes the signals.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from manycore.base import signals
from manycore.base.lifetime import exit_in_words

from . import rules
from .handle import Tell, WorkerHandle
from .report import ReadyReport
from .rules import Event, Failure, Policy, Rules, StopAsked, Urgency

log = logging.getLogger("manycore.supervise")

#: the signals that stop, and what they mean
STOPS: dict[signal.Signals, Event] = {
    signal.SIGTERM: StopAsked(Urgency.GRACEFUL),
    signal.SIGQUIT: StopAsked(Urgency.QUICK),
    signal.SIGINT: rules.Interrupted(),
}
#: these have a meaning in the field's servers; until they have one here they must not kill
_UNUSED = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)


class Crew(Protocol):
    """What is supervised. All but `live` runs in the supervisor and must be quick."""

    def live(self, number: int, tell: Tell) -> int:
        """The whole life of a worker, in its own process; gives its exit code."""

    def ready(self) -> None:
        """Every worker is ready, for the first time."""

    def stopping(self) -> None:
        """The first stop was asked for."""

    def gone(self, number: int) -> None:
        """A worker has ended; nobody runs under its number now."""


class Supervisor:
    """Keeps a crew of workers alive until it is told to stop.

    Args:
        crew: What is supervised.
        policy: What the rules go by.
        owner: A descriptor that becomes readable when whoever started us is gone: then all is
            killed.
        private: Descriptors of this process that no worker may keep.
    """

    def __init__(
        self, crew: Crew, policy: Policy, *, owner: int | None = None, private: Iterable[int] = ()
    ) -> None:
        self._crew = crew
        self._rules = Rules(policy)
        self._owner = owner
        self._private = [*private, *([] if owner is None else [owner])]
        self._workers: dict[int, WorkerHandle] = {}
        self._events: deque[Event] = deque()
        self._finish: rules.Finish | None = None

    def run(self) -> Failure | None:
        """Runs until all has ended; gives why, if that was a failure."""
        with (
            signals.captured(*STOPS, *_UNUSED) as self._inbox,
            selectors.DefaultSelector() as self._selector,
        ):
            self._selector.register(self._inbox, selectors.EVENT_READ, self._take_signals)
            if self._owner is not None:
                self._selector.register(self._owner, selectors.EVENT_READ, self._owner_is_gone)
            self._events.append(rules.Begin())
            while True:
                self._handle_events()
                if self._finish:
                    return self._finish.failure
                for key, _ in self._selector.select(self._patience()):
                    react: Callable[[], None] = key.data
                    react()
                self._events.append(rules.TimePassed())

    def _patience(self) -> float | None:
        deadline = self._rules.deadline()
        return None if deadline is None else max(0.0, deadline - time.monotonic())

    def _handle_events(self) -> None:
        while self._events:
            for action in self._rules.handle(self._events.popleft(), time.monotonic()):
                self._do(action)

    def _do(self, action: rules.Action) -> None:
        match action:
            case rules.Spawn(number):
                self._spawn(number)
            case rules.Tell(number, urgency):
                if number in self._workers:
                    self._workers[number].tell(urgency)
            case rules.Pause(number, seconds):
                log.warning("worker %d dies young: the next one starts in %.1f s", number, seconds)
            case rules.Announce():
                self._crew.ready()
            case rules.StopBegins():
                self._crew.stopping()
            case rules.Abandon(number):
                pid = self._workers[number].pid
                log.error("worker %d (pid %d) survives SIGKILL: the kernel holds it", number, pid)
            case rules.Finish():
                self._finish = action

    def _spawn(self, number: int) -> None:
        private = [*self._private, self._selector_fd()]
        for handle in self._workers.values():
            private.extend(handle.descriptors())
        try:
            handle = WorkerHandle.fork(number, self._crew.live, self._inbox, private)
        except OSError as error:
            reason = f"could not be started ({(error.strerror or str(error)).lower()})"
            log.error("worker %d %s", number, reason)  # noqa: TRY400  # the line says it all
            self._events.append(rules.Exited(number, reason))
            return
        log.debug("worker %d is pid %d", number, handle.pid)
        self._workers[number] = handle
        watch = self._selector.register
        watch(handle.report, selectors.EVENT_READ, lambda: self._read_report(handle))
        watch(handle.pidfd, selectors.EVENT_READ, lambda: self._reap(handle))

    def _selector_fd(self) -> int:
        assert isinstance(self._selector, selectors.EpollSelector)
        return self._selector.fileno()

    def _read_report(self, handle: WorkerHandle) -> None:
        if handle.report not in self._selector.get_map():
            return  # it was reaped in the same round
        report, complete = handle.read_report()
        if complete:
            self._selector.unregister(handle.report)
        if isinstance(report, Failure):
            self._events.append(rules.BootFailed(handle.number, report))
        elif isinstance(report, ReadyReport):
            self._events.append(rules.Booted(handle.number))

    def _reap(self, handle: WorkerHandle) -> None:
        self._read_report(handle)
        for fd in (handle.report, handle.pidfd):
            if fd in self._selector.get_map():
                self._selector.unregister(fd)
        code = handle.reap()
        del self._workers[handle.number]
        self._crew.gone(handle.number)
        how = "ended" if code is None else exit_in_words(code)
        log.log(self._level(code, handle), "worker %d (pid %d) %s", handle.number, handle.pid, how)
        self._events.append(rules.Exited(handle.number, how))

    def _level(self, code: int | None, handle: WorkerHandle) -> int:
        """How much people want to know of an end: little when it was asked for, or explained."""
        if not self._rules.announced and (handle.failed or self._rules.urgency):
            return logging.DEBUG  # the failure is told once, by whoever started all this
        return logging.INFO if code == 0 or self._rules.urgency else logging.ERROR

    def _take_signals(self) -> None:
        for signum in self._inbox.take():
            if signum in STOPS:
                log.info("stopping: got %s", signum.name)
                self._events.append(STOPS[signum])
            else:
                log.warning("ignored %s: it has no meaning here yet", signum.name)

    def _owner_is_gone(self) -> None:
        assert self._owner is not None
        self._selector.unregister(self._owner)
        log.warning("stopping at once: pid %d, who started this server, is gone", os.getppid())
        self._events.append(StopAsked(Urgency.NOW))
