"""How long tasks take, and so how many make a batch. Pure.

A batch shall take milliseconds: long enough that its message costs nothing beside it, short enough
that nobody notices having waited behind it. The time is measured in the worker, around the calls
alone. What nobody has measured yet travels alone.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final

TARGET: Final = 0.002  # seconds of work a batch
LEAST: Final = 0.0003  # seconds: less work is not worth a message, which costs both sides a third
MOST: Final = 8192  # tasks a batch, however short they are
WINDOW: Final = 4 * MOST  # tasks that a worker may have; the shared memory has as many slots
MOST_BYTES: Final = 4 << 20  # a batch, of arguments or of results
_FRESH: Final = 0.5  # the weight of the newest measurement
_REMEMBERED: Final = 1000  # functions


class Pace:
    """Measured seconds a task, for each function.

    Example:
        >>> pace = Pace()
        >>> pace.fits("thumbnail")
        1
        >>> pace.learn("thumbnail", count=1, seconds=0.0001)
        >>> pace.fits("thumbnail")
        20
    """

    def __init__(self) -> None:
        self._seconds: dict[Hashable, float] = {}
        self._bytes: dict[Hashable, float] = {}

    def seconds(self, key: Hashable) -> float:
        """Gives what a task is expected to take; a whole batch's time when nobody knows."""
        return self._seconds.get(key, TARGET)

    def fits(self, key: Hashable) -> int:
        """Gives how many tasks of a function make a batch."""
        most = min(MOST, int(TARGET / max(self.seconds(key), 1e-9)))
        size = self._bytes.get(key)
        if size:
            most = min(most, int(MOST_BYTES / size))
        return max(1, most)

    def worthwhile(self, key: Hashable) -> int:
        """Gives how many tasks of a function are worth a message, even where few are left.

        Example:
            >>> pace = Pace()
            >>> pace.learn("add", count=10, seconds=0.00001)
            >>> pace.worthwhile("add")
            300
        """
        return min(self.fits(key), round(LEAST / max(self.seconds(key), 1e-9)))

    def is_short(self, key: Hashable) -> bool:
        """Whether tasks of a function are known to be shorter than a batch."""
        return self.seconds(key) < TARGET

    def learn(self, key: Hashable, count: int, seconds: float) -> None:
        """Takes in that so many tasks of a function took so long together."""
        if count < 1:
            return
        _note(self._seconds, key, seconds / count)

    def weigh(self, key: Hashable, count: int, size: int) -> None:
        """Takes in that so many tasks of a function had so many bytes together.

        Their arguments are told and their results are: the more counts, and it is forgotten slowly.
        """
        if size and count:
            _note(self._bytes, key, max(size / count, self._bytes.get(key, 0.0) / 2))


def _note(notes: dict[Hashable, float], key: Hashable, value: float) -> None:
    before = notes.pop(key, value)  # popped, so that the oldest are the forgotten
    notes[key] = before + _FRESH * (value - before)
    if len(notes) > _REMEMBERED:
        del notes[next(iter(notes))]


def key_of(function: Any) -> Hashable:
    """Gives what functions that take about as long have in common: their code.

    A lambda in a loop is a new object each time, and so is a bound method.
    """
    for _ in range(3):  # a partial of a bound method of a function
        inner = getattr(function, "func", None) or getattr(function, "__func__", None)
        if inner is None:
            break
        function = inner
    code: Hashable = getattr(function, "__code__", None)
    if code is not None:
        return code
    return str(getattr(function, "__qualname__", type(function)))
