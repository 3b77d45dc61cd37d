"""The memory that a worker and its pool share: how far it is, and what it has found.

Guarantees: what was written is there after the worker's death. There are two writers and no lock:
each cell and each slot has one writer at a time. A task's slot is written when it is done, and what
it refers to before that: so the first empty slot of a batch is that of the task that runs.
Assumes: an aligned 8-byte store is atomic and stores are seen in order (as `base.board` does; the
reader learns of them by a message, a wait or the writer's death, each of which is a barrier).

A slot holds a result, or says where it is. 0 is an empty one; small numbers are what they are; all
else is a kind and where the rest is, as a number far below them.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Self

from manycore.base.segments import anonymous_file

from .pace import WINDOW

# Cells. All but RECALLED, HALTED and COLLECTED are the worker's.
FIRST: Final = 0  #: the number of the first task of the batch that runs or was run last
END: Final = 1  #: the number behind its last one
DONE: Final = 2  #: the same, when it is done
RECALLED: Final = 3  #: tasks that must not be begun any more are below this
HALTED: Final = 4  #: its first byte is not 0 when tasks were ever recalled
COLLECTED: Final = 5  #: tasks whose results the pool has taken
SINCE: Final = 6  #: when the running task began, if it has a timeout; CLOCK_MONOTONIC, ns
PEAK: Final = 7  #: bytes that the worker has held at most, as of its last message
_HEAD_CELLS: Final = 8

MASK: Final = WINDOW - 1
AREA_BYTES: Final = 1 << 18  #: for results that are no numbers
INLINE: Final = 4096  # bytes: bigger results are messages of their own

LARGEST: Final = 1 << 60  #: numbers above minus this, and below it, are written as they are
_SPECIAL: Final = -1 << 62
_KIND_BITS: Final = 3
LENGTH_BITS: Final = 16

# Kinds of what is no small number.
_NONE: Final = 0
_ZERO: Final = 1
_TRUE: Final = 2
_FALSE: Final = 3
BYTES: Final = 4  #: a pickle in the area: where, and how long
FAILURE: Final = 5  #: a pickled Failure in the area
MESSAGE: Final = 6  #: it came through the channel


def special(kind: int, rest: int = 0) -> int:
    """Gives what a slot holds for a kind, and where the rest is.

    Example:
        >>> opened(special(BYTES, 17)) == (BYTES, 17)
        True
    """
    return _SPECIAL + (rest << _KIND_BITS | kind)


def opened(cell: int) -> tuple[int, int]:
    """Gives kind and rest of what `special` made."""
    cell -= _SPECIAL
    return cell & ((1 << _KIND_BITS) - 1), cell >> _KIND_BITS


NONE: Final = special(_NONE)
ZERO: Final = special(_ZERO)
TRUE: Final = special(_TRUE)
FALSE: Final = special(_FALSE)
CONSTANTS: Final = {NONE: None, ZERO: 0, TRUE: True, FALSE: False}

_SLOTS_AT: Final = _HEAD_CELLS * 8
_AREA_AT: Final = _SLOTS_AT + WINDOW * 8
_SIZE: Final = _AREA_AT + AREA_BYTES
_EMPTY: Final = memoryview(bytes(WINDOW * 8)).cast("q")
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
        self.halted = whole[HALTED * 8 : HALTED * 8 + 8]  # as bytes: that is read for each task
        self.slots = whole[_SLOTS_AT:_AREA_AT].cast("q")
        self.area = whole[_AREA_AT:]

    @classmethod
    def create(cls) -> Self:
        """Makes an empty one."""
        fd = anonymous_file("slate")
        os.truncate(fd, _SIZE)
        return cls(fd)

    def done(self, start: int) -> int:
        """Gives how many tasks are done, when it is known that those before `start` are.

        All tasks of a batch that is done are; of another one those before the first empty slot.
        """
        end = self.cells[END]
        if self.cells[DONE] == end or end <= start:
            return end
        for part in self._parts(start, end):
            cells = self.slots[part].tolist()
            if 0 in cells:
                return start + cells.index(0)
            start += len(cells)
        return start

    def begun(self, start: int) -> int:
        """Gives how many tasks were begun, when it is known that those before `start` are done."""
        return min(self.done(max(start, self.cells[FIRST])) + 1, self.cells[END])

    def take(self, start: int, stop: int) -> bytes:
        """Gives the slots of some tasks, and clears them for those that come round to them."""
        found = []
        for part in self._parts(start, stop):
            slots = self.slots[part]
            found.append(slots.tobytes())
            slots[:] = _EMPTY[: len(slots)]
        return b"".join(found)

    def take_one(self, number: int) -> int:
        """As `take`, of one task."""
        place = number & MASK
        cell = self.slots[place]
        self.slots[place] = 0
        return cell

    @staticmethod
    def _parts(start: int, stop: int) -> Sequence[slice]:
        first, last = start & MASK, stop & MASK
        if first < last:
            return (slice(first, last),)
        return slice(first, WINDOW), slice(0, last)

    def close(self) -> None:
        """Lets go of the memory here."""
        for view in (self.cells, self.halted, self.slots, self.area):
            view.release()
        with suppress(BufferError):  # a traceback holds a view of it
            self._map.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
