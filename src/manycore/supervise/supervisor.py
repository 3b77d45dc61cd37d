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

from manycore.base import kernel, signals, strangers
from manycore.base.lifetime import exit_in_words
from manycore.errors import TargetError

from . import events
from .asking import Asking, WorkerStacks
from .events import Event, Failure, Policy, StopAsked, Urgency
from .handle import Life, WorkerHandle
from .nearing import Nearing
from .report import LetGoReport, ReadyReport, SpentReport, StacksReport
from .rules import Rules
from .timers import Timers

log = logging.getLogger("manycore.supervise")

#: the signals that stop, and what they mean
STOPS: dict[signal.Signals, Event] = {
    signal.SIGTERM: StopAsked(Urgency.GRACEFUL),
    signal.SIGQUIT: StopAsked(Urgency.QUICK),
    signal.SIGINT: events.Interrupted(),
}
_EPOLL = getattr(selectors, "EpollSelector", ())
_OTHERS = (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2)


class Crew(Protocol):
    """What is supervised. All of it runs in the supervisor and must be quick."""

    def begin(self, supervisor: Supervisor) -> None:
        """The supervisor is about to start the workers; from now on it can be asked for things."""

    def life(self, order: events.Spawn) -> Life:
        """Prepares a worker: gives what it does in its own process.

        Raises:
            OSError: When there is no room for one more.
            TargetError: When what is served does not want it now.
        """

    def limit(self, workers: int) -> int:
        """Gives the number of workers, near this one, that there may be."""

    def scaled(self, workers: int, before: int) -> None:
        """There shall be so many workers from now on."""

    def ready(self) -> None:
        """Every worker is ready, for the first time."""

    def reload_begins(self) -> None:
        """Every worker shall be renewed."""

    def reload_ends(self, generation: int, failure: Failure | None) -> None:
        """Every worker was renewed, or none will be any more."""

    def stop_nears(self, delay: float) -> None:
        """A stop was asked for, and comes after some seconds in which all goes on."""

    def close_the_door(self) -> None:
        """A graceful stop comes next: nobody new shall be heard."""

    def somebody_is_half_in(self) -> bool:
        """Whether somebody who was heard before that is still on the way in."""

    def stopping(self) -> None:
        """The first stop was asked for."""

    def work_ends(self) -> None:
        """All stops, and none of the workers that are left takes new work."""

    def gone(self, order: events.Spawn) -> None:
        """A worker has ended."""

    def upgrade(self) -> None:
        """Another supervisor shall take over."""

    def reopen_logs(self) -> None:
        """Log files were moved away: the names shall be new files."""


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
        self._wanted = policy.workers
        self._timers = Timers()
        self._nearing = Nearing(crew, self._timers, policy.pre_stop_delay, self.retire)
        self._owner = owner
        self._private = [*private, *([] if owner is None else [owner])]
        self._workers: dict[int, WorkerHandle] = {}
        self._asking = Asking(self._workers, self._timers)
        self._pending: deque[Event] = deque()
        self._finish: events.Finish | None = None

    def run(self) -> Failure | None:
        """Runs until all has ended; gives why, if that was a failure."""
        with (
            signals.captured(*STOPS, *_OTHERS, *_duties()) as self._inbox,
            selectors.DefaultSelector() as self._selector,
        ):
            self.watch(self._inbox.fileno(), self._take_signals)
            if self._owner is not None:
                self.watch(self._owner, self._owner_is_gone)
            self._crew.begin(self)
            self._pending.append(events.Begin())
            while True:
                self._handle_events()
                if self._finish:
                    return self._finish.failure
                for key, _ in self._selector.select(self._patience()):
                    if self._selector.get_map().get(key.fd) is key:  # nothing before ended it
                        react: Callable[[], None] = key.data
                        react()
                self._timers.run()
                self._pending.append(events.TimePassed())

    def _patience(self) -> float | None:
        deadlines = (self._rules.deadline(), self._timers.deadline())
        deadline = min((time for time in deadlines if time is not None), default=None)
        return None if deadline is None else max(0.0, deadline - time.monotonic())

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Calls a function once, after some seconds, if all has not ended by then."""
        self._timers.call_later(seconds, function)

    def _handle_events(self) -> None:
        while self._pending:
            for action in self._rules.handle(self._pending.popleft(), time.monotonic()):
                self._do(action)

    def _do(self, action: events.Action) -> None:  # noqa: C901  # a table
        match action:
            case events.Spawn():
                self._spawn(action)
            case events.Tell(name, urgency):
                if name in self._workers:
                    self._workers[name].tell(urgency)
            case events.Pause(number, seconds):
                log.warning("worker %d dies young: the next one starts in %.1f s", number, seconds)
            case events.Announce() if not self.stopping:  # else it must not be said any more
                self._crew.ready()
            case events.ReloadEnds(generation, failure):
                self._crew.reload_ends(generation, failure)
            case events.SuccessorFails(number, failure, seconds):
                words = "worker %d goes on, its successor failed (next try in %.0f s): %s"
                log.error(words, number, seconds, failure.in_words())
            case events.BootFails(number, failure):
                log.error("worker %d could not boot: %s", number, failure.in_words())
            case events.StopBegins():
                self._crew.stopping()
            case events.WorkEnds():
                self._crew.work_ends()
            case events.Abandon(name):
                handle = self._workers[name]
                words = "worker %d (pid %d) survives SIGKILL: the kernel holds it"
                log.error(words, handle.order.number, handle.pid)
            case events.Finish():
                self._finish = action

    def _spawn(self, order: events.Spawn) -> None:
        # whatever it waits for is its own: no worker may keep any of it
        waited_for = (key.fd for key in self._selector.get_map().values())
        private = {*self._private, *self._selector_fd(), *waited_for}
        for handle in self._workers.values():
            private.update(handle.descriptors())
        private.remove(self._inbox.fileno())  # the inbox closes itself
        try:
            life = self._crew.life(order)
            handle = WorkerHandle.fork(order, life, self._inbox, private)
        except TargetError as error:
            self._pending.append(events.BootFailed(order.worker, Failure.of(error)))
            self._pending.append(events.Exited(order.worker, "could not be started"))
            return
        except OSError as error:
            reason = f"could not be started ({(error.strerror or str(error)).lower()})"
            log.error("worker %d %s", order.number, reason)  # noqa: TRY400  # it says all
            self._crew.gone(order)
            self._pending.append(events.Exited(order.worker, reason))
            return
        log.debug("worker %d is pid %d", order.number, handle.pid)
        self._workers[order.worker] = handle
        self.watch(handle.report, lambda: self._read_reports(handle))
        if handle.pidfd >= 0:
            self.watch(handle.pidfd, lambda: self._reap(handle))

    def watch(self, fd: int, react: Callable[[], None], *, write: bool = False) -> None:
        """Calls a function whenever a descriptor is readable, or else writable, from now on."""
        event = selectors.EVENT_WRITE if write else selectors.EVENT_READ
        if fd in self._selector.get_map():
            self._selector.modify(fd, event, react)
        else:
            self._selector.register(fd, event, react)

    def keep_private(self, fd: int) -> None:
        """Lets no worker that is started from now on keep a descriptor."""
        self._private.append(fd)

    def unwatch(self, fd: int) -> None:
        """Ends what `watch` began; once nothing is waited for any more, there is nothing to end."""
        if fd in (self._selector.get_map() or ()):
            self._selector.unregister(fd)

    def ask(self, event: Event) -> None:
        """Lets the rules decide on an event, after what is being handled now."""
        if event == StopAsked(Urgency.GRACEFUL) and self._has_served():
            self._nearing.begin()
            return
        if isinstance(event, events.ReloadAsked) and not self.stopping:
            self._crew.reload_begins()
        self._pending.append(event)

    def retire(self) -> None:
        """Stops gracefully, and at once: nothing has to come before, or all of it has."""
        self._pending.append(StopAsked(Urgency.GRACEFUL))

    def _has_served(self) -> bool:
        """Whether there may be clients; before all are ready, the first that is has some."""
        ready = any(handle.was_ready for handle in self._workers.values())
        return ready or self._rules.announced

    def pass_on(self, signum: signal.Signals) -> None:
        """Sends a signal to every worker that was ready: one that boots does not know it yet."""
        for handle in self._workers.values():
            if handle.was_ready:
                handle.send_signal(signum)

    def ask_one_for_stacks(self, name: int, done: Callable[[WorkerStacks], None]) -> None:
        """Finds where every thread of one worker is; calls back within seconds."""
        if name in self._workers:
            self._asking.ask(name, done)

    def ask_for_stacks(self, done: Callable[[list[WorkerStacks]], None]) -> None:
        """Finds where every thread of every worker is; calls back within seconds."""
        found: list[WorkerStacks] = []
        names = list(self._workers)

        def take(stacks: WorkerStacks) -> None:
            found.append(stacks)
            if len(found) == len(names):
                done(sorted(found, key=lambda one: (one.worker, one.generation)))

        if not names:
            done([])
        for name in names:
            self._asking.ask(name, take)

    def scale(self, workers: int) -> None:
        """Changes the number of workers."""
        before, self._wanted = self._wanted, workers
        if workers != before and not self.stopping:
            self._crew.scaled(workers, before)
        self.ask(events.ScaleAsked(workers))

    @property
    def workers(self) -> int:
        """How many workers there shall be."""
        return self._wanted

    @property
    def generation(self) -> int:
        """How many reloads were begun."""
        return self._rules.generation

    @property
    def reloading(self) -> bool:
        """Whether workers are being renewed, or are about to be."""
        return self._rules.reloading

    @property
    def stopping(self) -> bool:
        """Whether a stop is under way, or near."""
        return self._nearing.began or self._rules.urgency > Urgency.NONE

    def _selector_fd(self) -> list[int]:
        selector = self._selector  # others have no descriptor, or one that is not inherited
        return [selector.fileno()] if isinstance(selector, _EPOLL) else []

    def _read_reports(self, handle: WorkerHandle) -> None:
        if handle.report not in self._selector.get_map():
            return
        reports, more = handle.read_reports()
        if not more:
            self.unwatch(handle.report)
        worker = handle.order.worker
        for report in reports:
            match report:
                case Failure():
                    self._pending.append(events.BootFailed(worker, report))
                case ReadyReport():
                    handle.was_ready = True
                    self._pending.append(events.Booted(worker))
                case LetGoReport():
                    self._pending.append(events.LetGo(worker))
                case SpentReport():
                    self._pending.append(events.Spent(worker))
                case StacksReport():
                    self._asking.answered(worker)

    def _reap(self, handle: WorkerHandle) -> None:
        self._read_reports(handle)
        self.unwatch(handle.report)
        if handle.pidfd >= 0:
            self.unwatch(handle.pidfd)
        order = handle.order
        self._asking.gone(order.worker)
        code = handle.reap()
        del self._workers[order.worker]
        self._crew.gone(order)
        how = "ended" if code is None else exit_in_words(code)
        log.log(self._level(code, handle), "worker %d (pid %d) %s", order.number, handle.pid, how)
        self._pending.append(events.Exited(order.worker, how))

    def _level(self, code: int | None, handle: WorkerHandle) -> int:
        """How much people want to know of an end: little when it was asked for, or explained."""
        if handle.failed or (self._rules.urgency and not self._rules.announced):
            return logging.DEBUG  # the failure is told once, by whoever started all this
        if handle.told and not handle.was_ready:
            return logging.INFO  # by the signal: who boots knows no other way
        return logging.INFO if code == 0 or self._rules.urgency else logging.ERROR

    def _take_signals(self) -> None:
        for signum in self._inbox.take():
            match signum:
                case signal.SIGTERM | signal.SIGQUIT | signal.SIGINT:
                    log.info("stopping: got %s", signum.name)
                    self.ask(STOPS[signum])
                case signal.SIGHUP:
                    log.info("reloading: got SIGHUP")
                    self.ask(events.ReloadAsked())
                case signal.SIGTTIN | signal.SIGTTOU:
                    step = 1 if signum == signal.SIGTTIN else -1
                    self.scale(self._crew.limit(self.workers + step))
                case signal.SIGCHLD:
                    self._children_changed()
                case signal.SIGUSR1:
                    self._crew.reopen_logs()
                case signal.SIGUSR2:
                    self._crew.upgrade()
                case _:
                    log.warning("ignored %s: it has no meaning here yet", signum.name)

    def _children_changed(self) -> None:
        if strangers.is_first():
            self._timers.call_later(strangers.PATIENCE, self._reap_strangers)
        if not kernel.HAS_PIDFD:
            for handle in list(self._workers.values()):
                if handle.has_ended():
                    self._reap(handle)

    def _reap_strangers(self) -> None:
        strangers.reap({handle.pid for handle in self._workers.values()})

    def _owner_is_gone(self) -> None:
        assert self._owner is not None
        self.unwatch(self._owner)
        log.warning("stopping at once: pid %d, who started this server, is gone", os.getppid())
        self._pending.append(StopAsked(Urgency.NOW))


def _duties() -> list[signal.Signals]:
    """Gives the signal that tells process 1 of the death of what was left to it.

    Where there is no pidfd, it tells of the death of workers, too.
    """
    return [signal.SIGCHLD] if strangers.is_first() or not kernel.HAS_PIDFD else []
