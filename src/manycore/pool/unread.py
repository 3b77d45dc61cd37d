"""Maps of whose input more is to be read, and who reads it when nobody takes results.

A map's input is read by whoever takes its results, a few batches ahead. That is not all there is to
it: in the standard library all of it is read, whatever becomes of the results.

Rules:

1. A closed pool has work for as long as there is a map that is not read to its end.
2. A map whose results were dropped, all of them, is read on at once. One of which some were taken,
   or whose results are still held, is read on when somebody waits for the pool to end and nobody
   takes them. That they are dropped is told by nobody: it is looked for while it may come.
3. Here, too, only a few batches are read before they are done. Results that may yet be taken are
   kept.
"""

from __future__ import annotations

import threading
import time
from typing import Final, Protocol

from manycore.base.conditions import Event

QUIET: Final = 0.25  # seconds in which no result is taken: nobody takes them


class Map(Protocol):
    """A map, as it is seen here.

    Attributes:
        given: How many results were taken.
        touched: Whether somebody wanted one.
    """

    given: int
    touched: bool

    @property
    def dropped(self) -> bool:
        """Whether nobody can take any more."""

    @property
    def undecided(self) -> bool:
        """Whether nothing happens until somebody wants one, or drops all."""

    def read_on(self) -> None:
        """Reads a few batches more, unless so many are not done."""

    def cancel(self) -> None:
        """Nothing more is read."""


class Unread:
    """The maps of a pool that are not read to their end."""

    def __init__(self) -> None:
        self._looks: dict[Map, tuple[int, float]] = {}  # how many were taken, since when
        self._changing = threading.Lock()
        self._changed = Event()
        self._awaited = False
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._looks)

    def add(self, found: Map) -> None:
        """Takes a map in."""
        self._looks[found] = (0, 0.0)

    def discard(self, found: Map) -> None:
        """One was read to its end, or will not be."""
        self._looks.pop(found, None)
        self.look()

    def look(self) -> None:
        """Something has changed that may be a reason to read on."""
        if self._thread is not None:
            self._changed.set()

    def cancel_all(self) -> None:
        """Nothing more is read of any."""
        for found in list(self._looks):
            found.cancel()

    def finish(self) -> None:
        """Somebody waits until all is read and done."""
        self._awaited = True
        self.start()

    def start(self) -> None:
        """Has the thread read on what nobody else reads."""
        with self._changing:
            if self._thread is None and self._looks:
                thread = threading.Thread(target=self._read, name="manycore-unread", daemon=True)
                thread.start()
                self._thread = thread
        self.look()

    def _read(self) -> None:
        """The thread: until nothing is left for it."""
        while self._read_on():
            looks = self._awaited or any(found.undecided for found in list(self._looks))
            self._changed.wait(QUIET if looks else None)

    def _read_on(self) -> bool:
        """Reads on what is its; False when nothing is left for it."""
        self._changed.clear()
        for found in list(self._looks):
            if self._is_ours(found):
                found.read_on()
        with self._changing:
            left = list(self._looks)
            if (self._awaited and left) or any(_is_free(one) or one.undecided for one in left):
                return True
            self._thread = None
            return False

    def _is_ours(self, found: Map) -> bool:
        """Whether nobody else reads it, and it is to be read now."""
        if _is_free(found):
            return True
        if not self._awaited:
            return False
        if found.dropped:
            return True
        now = time.monotonic()
        count, since = self._looks.get(found, (-1, now))
        if found.given == count:
            return now - since >= QUIET
        if count >= 0:
            self._looks[found] = (found.given, now)
        return False


def _is_free(found: Map) -> bool:
    return found.dropped and not found.touched
