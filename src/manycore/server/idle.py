"""Lets go of idle connections while a worker drains: the longest silent first, spread over time.

Guarantees: nothing is cut off. It is done to a connection whose client has had its answer, and
where no byte came or went for `QUIET` seconds, by what the kernel knows; of a Unix socket it knows
nothing, and those are left alone. How a connection is let go is the mode's to say.

They are spread over the first half of the grace period, so that clients do not all come back at
the same moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from manycore.base.traffic import traffic, unread

from .visit import Visit

QUIET: Final = 5.0  # seconds: who thinks about what to ask next has mostly asked by then
LOOK_EVERY: Final = 0.5  # seconds: in each step a share of them is let go


def share(idle: int, left: float) -> int:
    """Gives how many of the idle are to be let go in one step. Pure.

    Args:
        idle: How many there are.
        left: Seconds until all of them shall be.

    Example:
        >>> share(100, left=10.0), share(1, left=10.0), share(100, left=0.0)
        (5, 1, 100)
    """
    steps = max(1.0, left / LOOK_EVERY)
    return math.ceil(idle / steps)


class IdleConnections:
    """The idle connections of a worker that drains.

    Args:
        visits: Lists the connections that are open.
        let_go: Lets one go.
        graceful_timeout: Seconds that the worker has.
        now: When it began to drain.
    """

    def __init__(
        self,
        visits: Callable[[], list[Visit]],
        let_go: Callable[[Visit], None],
        graceful_timeout: float,
        now: float,
    ) -> None:
        self._visits = visits
        self._let_go = let_go
        self._end = now + graceful_timeout / 2
        self._next = now + LOOK_EVERY
        self._gone: set[Visit] = set()

    def deadline(self) -> float:
        """When `keep_time` has something to do."""
        return self._next

    def keep_time(self, now: float) -> None:
        """Lets a share of the idle go, if it is time."""
        if now < self._next:
            return
        self._next = now + LOOK_EVERY
        visits = self._visits()
        self._gone &= set(visits)
        silent = [(_silence(visit), visit) for visit in visits if visit not in self._gone]
        idle = sorted((s for s in silent if s[0] >= QUIET), key=lambda s: s[0], reverse=True)
        for _, visit in idle[: share(len(idle), self._end - now)]:
            self._gone.add(visit)
            self._let_go(visit)


def _silence(visit: Visit) -> float:
    """For how long a connection has been idle, in seconds; below 0: it is not."""
    seen = traffic(visit.conn)
    if seen is None or not seen.answered or unread(visit.conn):
        return -1.0
    return seen.silence
