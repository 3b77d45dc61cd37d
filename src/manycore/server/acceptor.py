"""Takes connections from the listeners and hands them to the mode. A worker's main thread.

Guarantees: it waits on the listeners only while the mode takes more, so that what it cannot serve
stays in the kernel's queue, where a sibling can take it; it is not woken for nothing; told to
drain, it takes what is queued until the queue is empty; told to end, it takes nothing more.

How it waits is in `listening`. What makes a worker's share too large it hands on to a sibling.
"""

from __future__ import annotations

import errno
import logging
import signal
import socket
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final

from manycore.base import logs
from manycore.base.doorbell import Doorbell
from manycore.base.signals import Inbox
from manycore.base.sockets import Listener
from manycore.base.stackfile import ASK

from .draining import draining_event
from .idle import IdleConnections
from .listening import listening
from .modes.mode import Mode
from .protection.guard import Guard
from .protection.shortage import SHORTAGES, Shortage
from .siblings import Siblings
from .statistics import Column, State
from .visit import Visit

log = logging.getLogger("manycore.server")

MOST_REFUSED: Final = 64  # clients, one after the other, before others have their turn
END_GRACE: Final = 1.0  # seconds for handlers to return, once their connections are shut down

#: what accept(2) says of the new connection and not of the listener (man 2 accept)
_CLIENTS_FAULT = {
    errno.ECONNABORTED,
    errno.EPERM,
    errno.EPROTO,
    errno.ENETDOWN,
    errno.ENOPROTOOPT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.EOPNOTSUPP,
    errno.ENETUNREACH,
    getattr(errno, "ENONET", errno.ENETUNREACH),  # Linux's alone
}


class _Phase(Enum):
    SERVING = auto()
    DRAINING = auto()
    ENDING = auto()


class Acceptor:
    """The accept loop of one worker.

    Args:
        listeners: Where connections come from. The acceptor closes this process's copies.
        mode: What they are given to.
        siblings: The other workers.
        guard: Who may come in, and for how long.
        wake: The mode rings it when it takes more again.
        graceful_timeout: Seconds that open connections may go on once it drains.
        row: The worker's row on the board.
        inbox: Signals: TERM drains, QUIT ends.
        let_go: Called once, when it takes no more connections.
        show_stacks: Called when the supervisor asks where every thread is.
    """

    def __init__(
        self,
        listeners: list[Listener],
        mode: Mode,
        siblings: Siblings,
        guard: Guard,
        *,
        wake: Doorbell,
        graceful_timeout: float,
        row: memoryview,
        inbox: Inbox,
        let_go: Callable[[], None],
        show_stacks: Callable[[], None],
    ) -> None:
        self._listeners = {listener.sock.fileno(): listener for listener in listeners}
        self._siblings = siblings
        self._guard = guard
        self._shortage = Shortage()
        self._handed_to_us = siblings.fileno()
        self._graceful_timeout = graceful_timeout
        self._row = row
        self._inbox = inbox
        self._let_go = let_go
        self._show_stacks = show_stacks
        self._phase = _Phase.SERVING
        self._deadline: float | None = None  # of draining, or of ending
        self._idle: IdleConnections | None = None  # once it drains
        self._resume: float | None = None  # when a pause is over
        self._watching = False
        self._listening = listening()
        self._wake = wake
        self._mode = mode

    def run(self) -> None:
        """Serves until it was told to stop and has."""
        wait, wake = self._listening.wait, self._wake.fileno()
        self._listening.watch(self._inbox.fileno())
        self._listening.watch(wake)
        while not self._is_over():
            self._watch(wanted=self._may_accept())
            for fd, _ in wait(self._patience()):
                if fd in self._listeners:
                    if self._watching:  # or an earlier one of this round took the last place
                        self._accept(self._listeners[fd])
                elif fd == self._handed_to_us:
                    self._take_from(self._siblings.place)
                elif fd == wake:
                    self._wake.hear()
                else:
                    self._take_signals()
            self._keep_time()
            if self._phase is _Phase.DRAINING:
                self._take_what_is_queued()

    @property
    def time_left(self) -> float:
        """Seconds until the worker should have ended."""
        return 0.0 if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _is_over(self) -> bool:
        if self._phase is _Phase.SERVING:
            return False
        ending = self._phase is _Phase.ENDING
        if self._mode.open == 0 and not self._listeners:
            return ending or not self._siblings.waits
        timed_out = self._deadline is not None and time.monotonic() >= self._deadline
        return ending and timed_out

    def _may_accept(self) -> bool:
        serving = self._phase is _Phase.SERVING and self._resume is None
        return serving and not self._guard.full

    def _patience(self) -> float | None:
        own = (self._deadline, self._resume)
        idle = None if self._idle is None else self._idle.deadline()
        times = (*own, idle, self._siblings.deadline(), self._guard.deadline())
        first = min((time for time in times if time is not None), default=None)
        return None if first is None else max(0.0, first - time.monotonic())

    def _watch(self, *, wanted: bool) -> None:
        """Waits on the listeners, or leaves them to the siblings."""
        if wanted == self._watching:
            return
        self._watching = wanted
        for fd in self._listeners:
            if wanted:
                self._listening.join(fd)
            else:
                self._listening.unwatch(fd)
        if wanted:
            self._listening.watch(self._handed_to_us)
        else:
            self._listening.unwatch(self._handed_to_us)
        if self._guard.full:
            self._mode.wake_below(self._guard.limit)

    def _accept(self, listener: Listener) -> bool:
        """Takes one connection; False if there is none to take, or nobody to serve it."""
        if self._guard.full:
            return False
        place = self._mode.reserve()
        if place is None:
            self._pause("no thread can be started")
            return False
        try:
            conn, address = listener.sock.accept()
        except OSError as error:
            self._mode.release(place)
            if error.errno == errno.EAGAIN:
                return False
            if error.errno in SHORTAGES:
                self._refuse_some(listener)
                self._pause((error.strerror or str(error)).lower())
                return False
            if error.errno in _CLIENTS_FAULT:
                return True
            raise
        self._give(place, conn, address)
        if self._guard.full:
            self._watch(wanted=False)
        elif self._watching:
            self._listening.rejoin(listener.sock.fileno())
        return True

    def _give(self, place: Any, conn: socket.socket, address: Any) -> None:
        """Gives a new connection to whom it is for: to nobody, a sibling, or the mode."""
        self._shortage.is_over()
        if self._guard.gate.turn_away(conn, address):
            self._mode.release(place)
            return
        visit = Visit(conn, address)
        serving = self._phase is _Phase.SERVING
        if serving and self._siblings.offer(self._mode.open + 1, visit):
            self._mode.release(place)
            conn.close()
        else:
            self._guard.serve(place, visit)

    def _take_from(self, worker: int) -> None:
        """Takes what was handed on and is in a worker's inbox, as far as there is room."""
        while not self._guard.full and self._resume is None:
            place = self._mode.reserve()
            if place is None:
                self._pause("no thread can be started")
                return
            try:
                visit = self._siblings.take(worker)
            except OSError as error:
                self._mode.release(place)
                self._pause((error.strerror or str(error)).lower())
                return
            if visit is None:
                self._mode.release(place)
                return
            self._guard.serve(place, visit)

    def _pause(self, reason: str) -> None:
        self._resume = self._shortage.begin(reason, time.monotonic())
        self._watch(wanted=False)

    def _refuse_some(self, listener: Listener) -> None:
        """Refuses who waits, where that is wanted; one descriptor is kept back for it."""
        if not self._guard.gate.refuses:
            return
        with self._shortage.lend() as lent:
            for _ in range(MOST_REFUSED if lent else 0):
                try:
                    conn, address = listener.sock.accept()
                except OSError:
                    break
                reason = "there is no descriptor for it"
                self._guard.gate.refuse(conn, address, reason, linger=False)

    def _take_signals(self) -> None:
        for signum in self._inbox.take():
            if signum == signal.SIGTERM and self._phase is _Phase.SERVING:
                self._drain()
            elif signum == signal.SIGQUIT and self._phase is not _Phase.ENDING:
                self._end()
            elif signum == signal.SIGUSR1:
                logs.reopen()
            elif signum == ASK:
                self._show_stacks()

    def _drain(self) -> None:
        self._watch(wanted=False)
        self._phase = _Phase.DRAINING
        self._row[Column.STATE] = State.DRAINING
        self._deadline = time.monotonic() + self._graceful_timeout
        draining_event().set()
        self._idle = IdleConnections(
            self._mode.visits, self._mode.let_go, self._graceful_timeout, time.monotonic()
        )
        self._mode.drain()
        log.debug("draining: %d connections are open", self._mode.open)

    def _take_what_is_queued(self) -> None:
        """Accepts until the queue is empty, as far as there is room; then lets go of it."""
        self._take_from(self._siblings.place)
        for fd, listener in list(self._listeners.items()):
            while self._accept(listener):
                pass
            if self._resume is None and not self._guard.full:
                del self._listeners[fd]
                listener.sock.close()
                if not self._listeners:
                    self._let_go()
        if self._resume is not None:
            return  # the end of the pause wakes us
        # a free place means: go on with the queue, or, when that is empty, look whether all ended
        self._mode.wake_below(self._guard.limit if self._listeners else 1)

    def _end(self) -> None:
        self._watch(wanted=False)
        self._phase = _Phase.ENDING
        self._idle = None
        self._row[Column.STATE] = State.DRAINING
        for listener in self._listeners.values():
            listener.sock.close()
        self._listeners.clear()
        self._mode.wake_below(1)
        self._deadline, self._resume = time.monotonic() + END_GRACE, None
        draining_event().set()
        count = self._mode.end_connections()
        if count:
            log.warning("ended %d connections that were still open", count)

    def _keep_time(self) -> None:
        now = time.monotonic()
        if self._resume is not None and now >= self._resume:
            self._resume = None
        self._guard.keep_time(now)
        if self._idle is not None:
            self._idle.keep_time(now)
        handed = self._siblings.deadline()
        if handed is not None and now >= handed:
            for worker in self._siblings.overdue():
                self._take_from(worker)
        if self._phase is _Phase.DRAINING and self._deadline is not None and now >= self._deadline:
            self._end()
