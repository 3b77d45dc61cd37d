"""Maps: one function over many items, all of which are there."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol

from .future import Failed, Future, finish
from .limits import Limits
from .lots import Span
from .pace import key_of
from .shared import Once
from .unread import Map, Unread


class Engine(Protocol):
    """What works on a map: processes, or threads.

    Attributes:
        workers: How many.
        unread: Its maps that are not read to their end.
    """

    workers: int
    unread: Unread

    @property
    def broken(self) -> BaseException | None:
        """What keeps its workers from beginning."""

    def check_open(self) -> None:
        """Raises when it takes no tasks."""

    def put(self, span: Span) -> None:
        """Queues a map, or its first part."""

    def add(self, span: Span) -> None:
        """Queues a further part."""

    def batch_of(self, key: Hashable) -> int:
        """Gives how many tasks make a batch."""

    def was_read(self, found: Map) -> None:
        """A map was read to its end, or will not be."""


class MapFuture(Future):
    """What a whole map will give: a list.

    Args:
        function: What is called.
        items: With what.
        star: Whether each item is a tuple of arguments.
        limits: Of each item.
    """

    def __init__(self, function: Any, items: Sequence[Any], limits: Limits, *, star: bool) -> None:
        super().__init__(function)
        self.star = star
        self.limits = limits
        self.key: Hashable = key_of(function)
        self._values: list[Any] = [None] * len(items)
        self._left = len(items)
        self._failed: tuple[int, Failed] | None = None
        self._tries: dict[int, int] = {}

    def deliver(self, start: int, values: Sequence[Any], *, failed: bool) -> list[int]:
        """Takes values in; gives the indexes of those that are to be tried again."""
        again: list[int] = []
        if failed:
            values = list(values)
            for place, value in enumerate(values):
                if type(value) is Failed:
                    values[place] = None
                    if may_try_again(self.limits, self._tries, start + place, value):
                        again.append(start + place)
                    elif self._failed is None or self._failed[0] > start + place:
                        self._failed = (start + place, value)
        self._values[start : start + len(values)] = values
        self._left -= len(values) - len(again)
        if not self._left:
            self._finish()
        return again

    @property
    def left(self) -> int:
        """How many items are not done."""
        return self._left

    def _finish(self) -> None:
        values, self._values = self._values, []
        if not self.done():
            finish([self], [values if self._failed is None else self._failed[1]])

    def cancel(self, *, running: bool = False) -> bool:
        """A map cannot be cancelled once it was begun."""
        del running
        return self.cancelled()

    def end_cancelled(self) -> None:
        """The pool was terminated."""
        super().end_cancelled()

    def as_job(self) -> _Job:
        """Gives the face that spans see."""
        return _Job(self)


class _Job:
    """A map's face towards its spans; `Future.cancel` is another thing."""

    def __init__(self, future: MapFuture) -> None:
        self._future = future
        self.function = future.function
        self.star = future.star
        self.key = future.key
        self.limits = future.limits
        self.known: Any = None
        self.once: Once | None = Once()

    def deliver(self, start: int, values: Sequence[Any], *, failed: bool) -> list[int]:
        return self._future.deliver(start, values, failed=failed)

    def cancel(self) -> None:
        self._future.end_cancelled()


def start_map(
    engine: Engine, function: Any, items: Sequence[Any], limits: Limits, *, star: bool
) -> MapFuture:
    """Queues a map whose items are all there."""
    future = MapFuture(function, items, limits, star=star)
    if items:
        engine.put(Span(future.as_job(), items, 0, 0, len(items)))
    else:
        engine.check_open()
        finish([future], [[]])
    return future


def may_try_again(limits: Limits, tries: dict[int, int], index: int, value: Failed) -> bool:
    """Counts an item's tries and says whether there is another one."""
    if not limits.retries:
        return False
    tries[index] = tries.get(index, 0) + 1
    return limits.may_try_again(tries[index], value.error)
