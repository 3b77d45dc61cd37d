"""Takes connections from the listeners and hands them to the mode. A worker's main thread.

Guarantees: it waits on the listeners only while the mode takes more, so that what it cannot serve
stays in the kernel's queue, where a sibling can take it; it is not woken for nothing; told to
drain, it takes what is queued until the queue is empty; told to end, it takes nothing more.

Workers wait with EPOLLEXCLUSIVE, which wakes one of them a connection, and register anew after each
accept: the kernel wakes the one that has waited longest, and this moves it to the end of the line.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import signal
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from manycore.base import logs
from manycore.base.signals import Inbox
from manycore.base.sockets import Listener
from manycore.base.stackfile import ASK

from .draining import draining_event
from .modes.mode import Mode
from .statistics import Column, State
from .visit import Visit

log = logging.getLogger("manycore.server")

PAUSE: Final = 0.1  # seconds without accepting when descriptors or threads have run out
COMPLAINT_EVERY: Final = 60.0  # seconds: a shortage that comes and goes fills no log
END_GRACE: Final = 1.0  # seconds for handlers to return, once their connections are shut down

_SHORTAGE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
#: what accept(2) says of the new connection and not of the listener (man 2 accept)
_CLIENTS_FAULT = {
    errno.ECONNABORTED,
    errno.EPERM,
    errno.EPROTO,
    errno.ENETDOWN,
    errno.ENOPROTOOPT,
    errno.EHOSTDOWN,
    errno.ENONET,
    errno.EHOSTUNREACH,
    errno.EOPNOTSUPP,
    errno.ENETUNREACH,
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
        wake: An eventfd that the mode writes to when it takes more again.
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
        *,
        wake: int,
        graceful_timeout: float,
        row: memoryview,
        inbox: Inbox,
        let_go: Callable[[], None],
        show_stacks: Callable[[], None],
    ) -> None:
        self._listeners = {listener.sock.fileno(): listener for listener in listeners}
        self._graceful_timeout = graceful_timeout
        self._row = row
        self._inbox = inbox
        self._let_go = let_go
        self._show_stacks = show_stacks
        self._phase = _Phase.SERVING
        self._deadline: float | None = None  # of draining, or of ending
        self._resume: float | None = None  # when a pause is over
        self._complain_after = 0.0  # when a shortage is worth another line in the log
        self._watching = False
        self._epoll = select.epoll()
        self._wake = wake
        self._mode = mode

    def run(self) -> None:
        """Serves until it was told to stop and has."""
        self._epoll.register(self._inbox, select.EPOLLIN)
        self._epoll.register(self._wake, select.EPOLLIN)
        while not self._is_over():
            self._watch(wanted=self._may_accept())
            for fd, _ in self._epoll.poll(self._patience()):
                if fd in self._listeners:
                    if self._watching:  # or an earlier one of this round took the last thread
                        self._accept(self._listeners[fd])
                elif fd == self._wake:
                    os.eventfd_read(self._wake)
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
        if self._mode.open == 0 and not self._listeners:
            return True
        timed_out = self._deadline is not None and time.monotonic() >= self._deadline
        return self._phase is _Phase.ENDING and timed_out

    def _may_accept(self) -> bool:
        serving = self._phase is _Phase.SERVING and self._resume is None
        return serving and not self._mode.full

    def _patience(self) -> float | None:
        times = [t for t in (self._deadline, self._resume) if t is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _watch(self, *, wanted: bool) -> None:
        """Waits on the listeners, or leaves them to the siblings."""
        if wanted == self._watching:
            return
        self._watching = wanted
        for fd in self._listeners:
            if wanted:
                self._epoll.register(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE)
            else:
                self._epoll.unregister(fd)
        if self._mode.full:
            self._mode.wake_below(self._mode.limit)

    def _accept(self, listener: Listener) -> bool:
        """Takes one connection; False if there is none to take, or nobody to serve it."""
        place = self._mode.reserve()
        if place is None:
            if not self._mode.full:
                self._pause("no thread can be started")
            return False
        try:
            conn, address = listener.sock.accept()
        except OSError as error:
            self._mode.release(place)
            if error.errno == errno.EAGAIN:
                return False
            if error.errno in _SHORTAGE:
                self._pause((error.strerror or str(error)).lower())
                return False
            if error.errno in _CLIENTS_FAULT:
                return True
            raise
        self._mode.serve(place, Visit(conn, address))
        if self._mode.full:
            self._watch(wanted=False)
        elif self._watching:
            fd = listener.sock.fileno()
            self._epoll.unregister(fd)
            self._epoll.register(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        return True

    def _pause(self, reason: str) -> None:
        now = time.monotonic()
        if now >= self._complain_after:
            self._complain_after = now + COMPLAINT_EVERY
            log.warning("cannot accept for now: %s; clients wait in the queue", reason)
        self._resume = now + PAUSE
        self._watch(wanted=False)

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
        self._mode.drain()
        log.debug("draining: %d connections are open", self._mode.open)

    def _take_what_is_queued(self) -> None:
        """Accepts until the queue is empty, as far as threads are free; then lets go of it."""
        for fd, listener in list(self._listeners.items()):
            while self._accept(listener):
                pass
            if self._resume is None and not self._mode.full:
                del self._listeners[fd]
                listener.sock.close()
                if not self._listeners:
                    self._let_go()
        if self._resume is not None:
            return  # the end of the pause wakes us
        # a free place means: go on with the queue, or, when that is empty, look whether all ended
        self._mode.wake_below(self._mode.limit if self._listeners else 1)

    def _end(self) -> None:
        self._watch(wanted=False)
        self._phase = _Phase.ENDING
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
        if self._phase is _Phase.DRAINING and self._deadline is not None and now >= self._deadline:
            self._end()
