"""The memory that a worker and its pool share: how far it is, and what it has found.

Guarantees: what was written is there after the worker's death. There are two writers and no lock:
each cell has one writer, and a result is written before the count that makes it known.
Assumes: an aligned 8-byte store is atomic and stores are seen in order (as `base.board` does; the
reader learns of them by a message, a wait or the writer's death, each of which is a barrier).

A slot holds a result, or says where it is. Small and common ones need no bytes: 0, which a slot is
when it was not written, is None; otherwise the lowest three bits say what the rest means.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Self

from manycore.base.segments import anonymous_file

from .rules import WINDOW

# Cells. All but RECALLED and COLLECTED are the worker's.
BEGUN: Final = 0  #: tasks begun
DONE: Final = 1  #: tasks done, when a batch begins or ends; within one, all but the last begun
RECALLED: Final = 2  #: tasks that must not be begun any more are below this
COLLECTED: Final = 3  #: tasks whose results the pool has taken
SINCE: Final = 4  #: when the running task began, if it has a timeout; CLOCK_MONOTONIC, ns
PEAK: Final = 5  #: bytes that the worker has held at most, as of its last message
_HEAD_CELLS: Final = 8

MASK: Final = WINDOW - 1
AREA_BYTES: Final = 1 << 18  #: for results that are no numbers
INLINE: Final = 4096  # bytes: bigger results are messages of their own

# Kinds of slots.
NUMBER: Final = 1  #: an int from 0
TRUE: Final = 2
FALSE: Final = 3
BYTES: Final = 4  #: a pickle in the area: where, and how long
FAILURE: Final = 5  #: a pickled Failure in the area
MESSAGE: Final = 6  #: it came through the channel
KIND_BITS: Final = 3
LENGTH_BITS: Final = 16
LARGEST: Final = 1 << 60

_SLOTS_AT: Final = _HEAD_CELLS * 8
_AREA_AT: Final = _SLOTS_AT + WINDOW * 8
_SIZE: Final = _AREA_AT + AREA_BYTES
_ZEROS: Final = memoryview(bytes(WINDOW * 8)).cast("Q")
assert WINDOW & MASK == 0


class Slate:
    """One worker's memory, in either process.

    Args:
        fd: A descriptor from `Slate.create`. The slate owns it.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, _SIZE)
        whole = memoryview(self._map)
        self.cells = whole[:_SLOTS_AT].cast("Q")
        self.slots = whole[_SLOTS_AT:_AREA_AT].cast("Q")
        self.area = whole[_AREA_AT:]

    @classmethod
    def create(cls) -> Self:
        """Makes an empty one."""
        fd = anonymous_file("slate")
        os.truncate(fd, _SIZE)
        return cls(fd)

    @property
    def done(self) -> int:
        """How many tasks are done."""
        return max(self.cells[DONE], self.cells[BEGUN] - 1)

    def take(self, start: int, stop: int) -> Sequence[int]:
        """Reads the slots of some tasks, and clears them for those that come round to them."""
        first, last = start & MASK, stop & MASK
        if first < last:
            return self._take(first, last)
        return [*self._take(first, WINDOW), *self._take(0, last)]

    def _take(self, first: int, last: int) -> list[int]:
        part = self.slots[first:last]
        values = part.tolist()
        part[:] = _ZEROS[: last - first]
        return values

    def close(self) -> None:
        """Lets go of the memory here."""
        for view in (self.cells, self.slots, self.area):
            view.release()
        with suppress(BufferError):  # a traceback holds a view of it
            self._map.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
