"""Many times to come, of which few are waited for to the end. Pure.

Guarantees: to add and to remove cost the same however many there are; nothing is due before its
time, and everything is at most one slot after it.
"""

from __future__ import annotations

import heapq
import math
from typing import Final, Generic, TypeVar

T = TypeVar("T")

SLOT: Final = 0.1  # seconds: what falls due together is looked at together


class Wheel(Generic[T]):
    """Things, each with the time at which it falls due.

    Example:
        >>> wheel = Wheel()
        >>> wheel.add("tea", 3.0)
        >>> wheel.add("eggs", 5.0)
        >>> wheel.remove("tea")
        >>> wheel.due(5.0 + SLOT)
        ['eggs']
    """

    def __init__(self) -> None:
        self._slots: dict[int, dict[T, None]] = {}
        self._order: list[int] = []  # a heap of the slots
        self._where: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self._where)

    def add(self, thing: T, when: float) -> None:
        """Notes a thing, which is not in it yet."""
        slot = math.ceil(when / SLOT)
        self._where[thing] = slot
        found = self._slots.get(slot)
        if found is None:
            found = self._slots[slot] = {}
            heapq.heappush(self._order, slot)
        found[thing] = None

    def remove(self, thing: T) -> None:
        """Forgets a thing, if it is in it."""
        slot = self._where.pop(thing, None)
        if slot is not None:
            del self._slots[slot][thing]

    def deadline(self) -> float | None:
        """When something falls due next; None: nothing is in it."""
        while self._order and not self._slots[self._order[0]]:
            del self._slots[heapq.heappop(self._order)]
        return self._order[0] * SLOT if self._order else None

    def due(self, now: float) -> list[T]:
        """Takes out what has fallen due, in order."""
        found: list[T] = []
        while self._order and self._order[0] * SLOT <= now:
            found += self._slots.pop(heapq.heappop(self._order))
        for thing in found:
            del self._where[thing]
        return found
