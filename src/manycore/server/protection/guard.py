"""The protections of one worker: its acceptor asks them, and keeps their time.

Guarantees: all of it runs in the worker's main thread, but for what a `Visit` tells it; a
connection costs two entries in a table, and no system call before the first timeout; with no
connections there is nothing to wait for, but the worker's age.
"""

from __future__ import annotations

import logging
import random
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from manycore.base.memory import resident_bytes
from manycore.base.traffic import traffic, unread
from manycore.server.modes.mode import Mode, peer
from manycore.server.statistics import Column
from manycore.server.visit import Visit
from manycore.settings import ServeSettings

from .gate import Gate
from .recycling import LOOK_EVERY, Lifetime
from .silence import Disconnect, LookAgain, Patience
from .wheel import Wheel

log = logging.getLogger("manycore.server")

BATCH = 200  # connections that are looked at in one go, so that the handlers get their turns


class Guard:
    """Knows every connection of a worker.

    Args:
        settings: The bounds.
        mode: Who serves.
        gate: Who may come in.
        row: The worker's row on the board.
        spent: Called once, when the worker shall be renewed.
        sums: Row 0 of the board, where the supervisor says that it wants to be woken.
        ring: Wakes it.
    """

    def __init__(
        self,
        settings: ServeSettings,
        mode: Mode,
        gate: Gate,
        row: memoryview,
        spent: Callable[[], None],
        sums: memoryview,
        ring: Callable[[], None],
    ) -> None:
        self._mode = mode
        self._row = row
        self._sums = sums
        self._ring = ring
        self.gate = gate
        self._counts = gate.counts
        self._proxied = settings.proxy_protocol
        self._spent: Callable[[], None] | None = spent
        self._patience = Patience(settings.first_byte_timeout, settings.idle_timeout)
        self._first_look = self._patience.first_look()
        self._wheel: Wheel[Visit] = Wheel()
        self._backlog: deque[Visit] = deque()  # due, and not looked at yet
        self._ended: deque[Visit] = deque()  # filled by whichever thread ends one
        self._began = time.monotonic()
        self._lifetime = Lifetime.draw(
            settings.max_requests,
            settings.max_requests_jitter,
            settings.max_age,
            settings.max_rss,
            random.random(),  # noqa: S311  # no secret
        )
        self._looked_at_memory = self._began
        self._served = 0

    @property
    def full(self) -> bool:
        """Whether the worker has all the connections that it may have."""
        most = self.gate.most
        return self._mode.full or (most is not None and self._mode.open >= most)

    @property
    def limit(self) -> int:
        """How many connections the worker may have."""
        most = self.gate.most
        return self._mode.limit if most is None else min(most, self._mode.limit)

    def serve(self, place: Any, visit: Visit) -> None:
        """Takes note of a connection, and gives it to the mode."""
        self._welcome(visit)
        if self._sums[Column.STATE]:  # before a handler can keep us from it, and after CAME
            self._ring()
        self._mode.serve(place, visit)

    def _welcome(self, visit: Visit) -> None:
        visit.host = self
        if self._counts is not None and not self._proxied:
            self._counts.enter(visit.address)
            visit.counted = visit.address
        self._forget_ended()
        if self._first_look is not None and visit.conn.family != socket.AF_UNIX:
            self._wheel.add(visit, visit.began + self._first_look)
        self._served += 1
        self._row[Column.CAME] = int(visit.began * 1e9)
        self._look_at_age(visit.began)

    def named(self, visit: Visit) -> bool:
        """Counts a connection for the client that a proxy named, if that one may have one more."""
        if self._counts is None:
            return True
        if self._counts.is_full(visit.address):
            return False
        self._counts.enter(visit.address)
        visit.counted = visit.address
        return True

    def over(self, visit: Visit) -> None:
        """Takes note of a connection's end."""
        if self._counts is not None and visit.counted is not None:
            self._counts.leave(visit.counted)
        self._ended.append(visit)

    def _forget_ended(self) -> None:
        ended = self._ended
        while ended:
            self._wheel.remove(ended.popleft())

    def deadline(self) -> float | None:
        """When `keep_time` has something to do; None: never."""
        self._forget_ended()
        if self._backlog:
            return 0.0
        times = [self._wheel.deadline(), self.gate.farewells.deadline()]
        if self._spent is not None:
            if self._lifetime.age:
                times.append(self._began + self._lifetime.age)
            if self._lifetime.rss and self._mode.open:
                times.append(self._looked_at_memory + LOOK_EVERY)
        return min((when for when in times if when is not None), default=None)

    def keep_time(self, now: float) -> None:
        """Does what is due."""
        self.gate.farewells.close_due(now)
        self._look_at_age(now)
        self._forget_ended()
        self._backlog += self._wheel.due(now)
        for _ in range(min(BATCH, len(self._backlog))):
            visit = self._backlog.popleft()
            if not visit.over:
                self._look_at(visit, now)

    def _look_at(self, visit: Visit, now: float) -> None:
        seen = traffic(visit.conn)
        idle = seen is not None and self._patience.idle and seen.silence >= self._patience.idle
        waiting = unread(visit.conn) if idle else 0
        match self._patience.judge(seen, waiting, now - visit.began):
            case LookAgain(after):
                self._wheel.add(visit, now + after)
            case Disconnect(reason):
                self._row[Column.EXPIRED] += 1
                log.info("client %s is disconnected: %s", peer(visit.address), reason)
                self._mode.disconnect(visit)
            case None:
                pass

    def _look_at_age(self, now: float) -> None:
        if self._spent is None:
            return
        rss = 0
        if self._lifetime.rss and now - self._looked_at_memory >= LOOK_EVERY:
            self._looked_at_memory = now
            rss = resident_bytes()
        reason = self._lifetime.reason_to_end(self._served, now - self._began, rss)
        if reason:
            spent, self._spent = self._spent, None
            log.info("this worker shall be renewed: %s", reason)
            spent()
