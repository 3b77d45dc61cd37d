"""Threads that serve one connection each.

Guarantees: no more than `limit` threads; a connection is handed only to a thread that waits for
one; what a handler raises ends its connection and nothing else; a thread that has had nothing to do
for `IDLE_AFTER` seconds ends; with no connections nothing wakes up.

The worker's main thread reserves a thread, takes a connection and hands it over; the threads call
back when the main thread waits for one of them to be free.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from manycore.server.entrance import Entrance
from manycore.server.handlers import Handler
from manycore.server.statistics import Column
from manycore.server.visit import Visit

from .mode import handle, shut_reading

if TYPE_CHECKING:
    import ssl

IDLE_AFTER: Final = 5.0  # seconds: outlives the pauses of a busy hour, ends soon after it


class HandlerThreads:
    """The threads of one worker.

    Args:
        handler: What each connection is given to.
        limit: How many connections may be served at a time.
        entrance: What each connection passes first.
        row: The worker's row on the board.
        freed: Called, from any thread, when what `wake_below` asked for has come.
    """

    def __init__(
        self,
        handler: Handler,
        limit: int,
        entrance: Entrance,
        row: memoryview,
        freed: Callable[[], None],
    ) -> None:
        self._handler = handler
        self._entrance = None if entrance.is_open else entrance
        self.limit = limit
        self._row = row
        self._freed = freed
        self._lock = threading.Lock()
        self._idle: list[HandlerThread] = []  # the last to become idle is the first to be used
        self._busy: dict[HandlerThread, Visit] = {}
        self._started = 0
        self._wake_below = 0

    def start(self) -> None:
        """Starts nothing: threads come with connections."""

    @property
    def open(self) -> int:
        """How many connections are being served."""
        return len(self._busy)

    @property
    def full(self) -> bool:
        """Whether every thread that may exist is serving."""
        return len(self._busy) >= self.limit

    def reserve(self) -> HandlerThread | None:
        """Gives a thread that waits for a connection; None if there can be none now."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
            if self.full:
                return None
            self._started += 1
            thread = HandlerThread(self, self._started)
            self._row[Column.THREADS] += 1
        try:
            thread.start()
        except RuntimeError:  # the process may have no more threads, or no memory for one
            with self._lock:
                self._row[Column.THREADS] -= 1
            return None
        return thread

    def release(self, thread: HandlerThread) -> None:
        """Gives a reserved thread back: there was no connection for it after all."""
        with self._lock:
            self._idle.append(thread)

    def serve(self, thread: HandlerThread, visit: Visit) -> None:
        """Hands a connection to the thread that was reserved for it."""
        with self._lock:
            self._row[Column.ACCEPTED] += 1
            self._busy[thread] = visit
        thread.jobs.put(visit)

    def disconnect(self, visit: Visit) -> None:
        """Shuts a connection down, so that a handler that waits for it returns."""
        if not visit.over:
            with suppress(OSError):  # its handler was faster
                socket.socket.shutdown(visit.conn, socket.SHUT_RDWR)  # of TLS too, the connection's

    @property
    def is_threaded(self) -> bool:
        """Each connection has a thread of its own."""
        return True

    def threads(self) -> dict[int, int | None]:
        """Gives the threads that serve, with what each of them may wait for."""
        with self._lock:
            busy = list(self._busy.items())
        return {
            thread.native_id: visit.conn.fileno()
            for thread, visit in busy
            if thread.native_id is not None
        }

    def visits(self) -> list[Visit]:
        """Lists the connections that are being served."""
        with self._lock:
            return list(self._busy.values())

    def wake_below(self, open_connections: int) -> None:
        """Asks for one call of `freed`, once fewer connections than this are open."""
        with self._lock:
            wake = len(self._busy) < open_connections  # the last may have gone before we asked
            self._wake_below = 0 if wake else open_connections
        if wake:
            self._freed()

    def drain(self) -> None:
        """Lets every handler go on."""

    def let_go(self, visit: Visit) -> None:
        """Lets the handler of a connection that is idle read an end of file."""
        shut_reading(visit)

    def end_connections(self) -> int:
        """Shuts every open connection down, so that handlers that wait for it return."""
        visits = self.visits()
        for visit in visits:
            self.disconnect(visit)
        return len(visits)

    def close(self, timeout: float) -> None:
        """Waits for no thread: what still runs ends with the process."""

    def handle(self, visit: Visit) -> None:
        """Runs the handler over one connection; called by the connection's thread."""
        if self._entrance is None or self._entrance.pass_blocking(visit, _secure):
            handle(self._handler, visit.conn, visit.address, self._count_failure)

    def finished(self, thread: HandlerThread) -> None:
        """Counts a connection as done and its thread as free; called by that thread."""
        with self._lock:
            visit = self._busy.pop(thread)
            self._idle.append(thread)
            self._row[Column.FINISHED] += 1
            wake = len(self._busy) < self._wake_below
            if wake:
                self._wake_below = 0
        visit.end()
        if wake:
            self._freed()

    def retire(self, thread: HandlerThread) -> bool:
        """Lets a thread end that has been idle for long, unless it was just reserved."""
        with self._lock:
            if thread not in self._idle:
                return False
            self._idle.remove(thread)
            self._row[Column.THREADS] -= 1
            return True

    def _count_failure(self) -> None:
        with self._lock:
            self._row[Column.FAILED] += 1


def _secure(conn: socket.socket, context: ssl.SSLContext, _deadline: float) -> socket.socket:
    return context.wrap_socket(conn, server_side=True, do_handshake_on_connect=False)


class HandlerThread(threading.Thread):
    """One thread: waits for a connection, serves it, and waits again."""

    def __init__(self, threads: HandlerThreads, number: int) -> None:
        super().__init__(name=f"handler-{number}", daemon=True)
        self.jobs: SimpleQueue[Visit] = SimpleQueue()
        self._threads = threads

    def run(self) -> None:
        """The thread's whole life."""
        while True:
            try:
                visit = self.jobs.get(timeout=IDLE_AFTER)
            except Empty:
                if self._threads.retire(self):
                    return
                continue
            self._threads.handle(visit)
            del visit  # an idle thread must keep nothing of its last client
            self._threads.finished(self)
