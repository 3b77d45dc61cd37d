"""Where a list's items are. Pure.

An item has a position, and positions follow one another without a gap; the first may be any whole
number, so that a list can grow at both ends. Inserting and deleting move the shorter side by one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

POSITION = struct.Struct(">Q")
MIDDLE: Final = 1 << 63  # positions are stored from here on, so that they sort as bytes
FIRST: Final = POSITION.pack(MIDDLE)


@dataclass(frozen=True, slots=True)
class Shift:
    """Items to move, in an order in which none is overwritten before it has moved.

    Attributes:
        positions: Where they are.
        by: How far each goes.
    """

    positions: range
    by: int


@dataclass(frozen=True, slots=True)
class Span:
    """The positions of a list.

    Attributes:
        start: The first item's.
        length: How many there are.

    Example:
        >>> Span(0, 5).insert(1)
        (Span(start=-1, length=6), Shift(positions=range(0, 1), by=-1), 0)
    """

    start: int
    length: int

    @classmethod
    def between(cls, first: bytes, last: bytes) -> Span:
        """Gives the span between two positions, as `position_key` wrote them."""
        start = POSITION.unpack(first)[0]
        return cls(start - MIDDLE, POSITION.unpack(last)[0] - start + 1)

    @property
    def end(self) -> int:
        """The position behind the last item."""
        return self.start + self.length

    def index(self, index: int) -> int | None:
        """Gives the position of an index, which may count from the end; None if there is none."""
        if index < 0:
            index += self.length
        return self.start + index if 0 <= index < self.length else None

    def insert(self, index: int) -> tuple[Span, Shift, int]:
        """Makes room before an index, as `list.insert` reads it.

        Returns:
            The span afterwards, what to move first, and the position that is free then.
        """
        if index < 0:
            index = max(0, index + self.length)
        index = min(index, self.length)
        at = self.start + index
        if index < self.length - index:
            moved = Shift(range(self.start, at), -1)
            return Span(self.start - 1, self.length + 1), moved, at - 1
        moved = Shift(range(self.end - 1, at - 1, -1), 1)
        return Span(self.start, self.length + 1), moved, at

    def delete(self, position: int) -> tuple[Span, Shift, int]:
        """Closes the gap that an item leaves.

        Returns:
            The span afterwards, what to move, and the position whose record goes then.
        """
        index = position - self.start
        if index < self.length - index - 1:
            moved = Shift(range(position - 1, self.start - 1, -1), 1)
            return Span(self.start + 1, self.length - 1), moved, self.start
        moved = Shift(range(position + 1, self.end), -1)
        return Span(self.start, self.length - 1), moved, self.end - 1


def position_key(position: int) -> bytes:
    """Writes a position so that bytes sort as positions do."""
    return POSITION.pack(position + MIDDLE)
