"""When there is no descriptor, memory or thread for one more connection.

Guarantees: a worker that cannot accept is woken a few times a second at most, however many clients
wait; it says so once a minute at most, and says when it is over; one descriptor is kept back, so
that a client can still be refused in order.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

log = logging.getLogger("manycore.server")

SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
FIRST_PAUSE: Final = 0.05  # seconds without accepting; it doubles while nothing gets better
LONGEST_PAUSE: Final = 1.0
COMPLAINT_EVERY: Final = 60.0  # seconds: a shortage that comes and goes fills no log


class Shortage:
    """What a worker does about it."""

    def __init__(self) -> None:
        self._pause = FIRST_PAUSE
        self._said_at: float | None = None
        self._lasts = False
        self._reserve = _take_one()

    def begin(self, reason: str, now: float) -> float:
        """Takes note that something is short; gives when to try again."""
        self._lasts = True
        if self._said_at is None or now >= self._said_at + COMPLAINT_EVERY:
            self._said_at = now
            log.warning("cannot accept for now: %s", reason)
        pause = self._pause
        self._pause = min(2 * pause, LONGEST_PAUSE)
        return now + pause

    def is_over(self) -> None:
        """Takes note that a connection was accepted."""
        if self._lasts:
            self._lasts, self._pause = False, FIRST_PAUSE
            log.debug("accepting again")

    @contextmanager
    def lend(self) -> Iterator[bool]:
        """Frees the descriptor that was kept back while the block runs; False: it is gone."""
        had = self._reserve is not None
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None
        try:
            yield had
        finally:
            self._reserve = _take_one()

    def close(self) -> None:
        """Lets go of what was kept back."""
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None


def _take_one() -> int | None:
    with suppress(OSError):
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    return None
