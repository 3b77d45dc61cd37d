"""Results that come in any order, given in the order of the items. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """Holds what comes before its turn.

    Attributes:
        next: The number whose turn it is.

    Example:
        >>> turns = Turns[str]()
        >>> list(turns.take(1, "b")), list(turns.take(0, "a"))
        ([], [(0, 'a'), (1, 'b')])
    """

    def __init__(self) -> None:
        self.next = 0
        self._early: dict[int, T] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._early)

    def take(self, number: int, value: T) -> Iterator[tuple[int, T]]:
        """Takes a value in; gives all whose turn it is now."""
        self._early[number] = value
        while self.next in self._early:
            number = self.next
            self.next += 1
            yield number, self._early.pop(number)
