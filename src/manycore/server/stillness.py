"""Which of a worker's threads stand still, and wait for something that is not their client."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Final

from manycore.base.blocked import For, Wait, wait_of
from manycore.base.sockets import Listener, queued

from .hangs import is_stuck
from .modes.mode import Mode, peer
from .statistics import Column

log = logging.getLogger("manycore.server")

MOST_NAMED: Final = 5  # connections that the log names


class Stillness:
    """Looks at the threads of one worker, whenever somebody asks.

    Args:
        mode: Whose threads they are.
        listeners: Where clients may wait.
        row: The worker's row on the board.
    """

    def __init__(self, mode: Mode, listeners: Iterable[Listener], row: memoryview) -> None:
        self._mode = mode
        self._listeners = list(listeners)
        self._row = row
        self._waits: dict[int, Wait] = {}

    def look(self) -> None:
        """Notes on the board whether the worker is stuck."""
        before = self._waits
        self._waits = {
            thread: wait
            for thread, fd in self._mode.threads().items()
            if (wait := wait_of(thread)) is not None and not is_for(wait, fd)
        }
        still = sum(before.get(thread) == wait for thread, wait in self._waits.items())
        facts = {"open_": self._mode.open, "limit": self._mode.limit}
        waiting = sum(queued(entry.sock) for entry in self._listeners if entry.sock.fileno() >= 0)
        stuck = is_stuck(threads=self._mode.is_threaded, still=still, queued=waiting, **facts)
        self._row[Column.STUCK] = stuck
        if stuck:
            self._say()

    def _say(self) -> None:
        now = time.monotonic()
        visits = sorted(self._mode.visits(), key=lambda visit: visit.began)
        named = ", ".join(
            f"{peer(visit.address)} for {now - visit.began:.1f} s" for visit in visits[:MOST_NAMED]
        )
        log.error("this worker is stuck; it serves %d connections: %s", len(visits), named)


def is_for(wait: Wait, fd: int | None) -> bool:
    """Whether a wait is the one that a thread may be in.

    Args:
        wait: The thread's.
        fd: Its client's connection; None: it waits for events of many.
    """
    return wait.what is For.ANY or (wait.what is For.DESCRIPTOR and wait.fd == fd)
