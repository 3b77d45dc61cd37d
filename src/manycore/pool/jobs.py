"""Maps: one function over many items, whose results come back in parts."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any, Final, Protocol, Self

from .future import Failed, Future, finish
from .limits import Limits
from .lots import Span
from .pace import key_of


class Engine(Protocol):
    """What works on a map: processes, or threads."""

    workers: int

    def check_open(self) -> None:
        """Raises when it takes no tasks."""

    def put(self, span: Span) -> None:
        """Queues a map, or its first part."""

    def add(self, span: Span) -> None:
        """Queues a further part."""

    def batch_of(self, key: Hashable) -> int:
        """Gives how many tasks make a batch."""


END: Final = object()  # in the place of a value: there are no more
_AHEAD: Final = 4  # batches for each worker that an imap reads ahead


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


class Results(Iterator[Any]):
    """The results of a map, one after the other; items are read as results are taken.

    However long the input is, only a bounded number of items is read ahead: a few batches for each
    worker. The input is read by the thread that takes the results.

    Args:
        engine: What runs them.
        function: What is called.
        iterable: With what.
        limits: Of each item.
        star: Whether each item is a tuple of arguments.
        ordered: Whether results come in the order of the input.
        owner: What must live as long as this.
    """

    def __init__(
        self,
        engine: Engine,
        function: Any,
        iterable: Iterable[Any],
        limits: Limits,
        *,
        star: bool = False,
        ordered: bool = True,
        owner: object = None,
    ) -> None:
        engine.check_open()
        self.function = function
        self.star = star
        self.limits = limits
        self.key: Hashable = key_of(function)
        self._engine = engine
        self._items = iter(iterable)
        self._ordered = ordered
        self._owner = owner
        self._lock = threading.Condition(threading.Lock())
        self._ready: deque[Any] = deque()  # values to give, in order
        self._early: dict[int, Any] = {}  # values that came before their turn
        self._tries: dict[int, int] = {}
        self._next = 0  # the index of the next value to be ready
        self._read = 0
        self._given = 0
        self._exhausted = False
        self._cancelled = False
        self._problem: BaseException | None = None
        self._read_ahead()

    def deliver(self, start: int, values: Sequence[Any], *, failed: bool) -> list[int]:
        """Takes values in; gives the indexes of those that are to be tried again."""
        again: list[int] = []
        if failed and self.limits.retries:
            for place, value in enumerate(values):
                if type(value) is Failed and may_try_again(
                    self.limits, self._tries, start + place, value
                ):
                    again.append(start + place)
        with self._lock:
            if not self._ordered:
                self._ready.extend(
                    value for place, value in enumerate(values, start) if place not in again
                ) if again else self._ready.extend(values)
            elif start == self._next and not again and not self._early:
                self._ready.extend(values)
                self._next += len(values)
            else:
                self._early.update(
                    (place, value)
                    for place, value in enumerate(values, start)
                    if place not in again
                )
                while self._next in self._early:
                    self._ready.append(self._early.pop(self._next))
                    self._next += 1
            self._lock.notify_all()
        return again

    def cancel(self) -> None:
        """There will be no more values: the pool was terminated."""
        with self._lock:
            self._cancelled = True
            self._lock.notify_all()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """Gives the next result.

        Args:
            timeout: Seconds to wait at most; None: as long as it takes.

        Raises:
            StopIteration: When there are no more.
            multiprocessing.TimeoutError: When there is none in time.
        """
        value = self.take(timeout)
        if value is END:
            raise StopIteration
        if type(value) is Failed:
            raise value.error
        return value

    def until(self, timeout: float) -> Iterator[Any]:
        """Gives the results that come within so many seconds; then a TimeoutError."""
        deadline = time.monotonic() + timeout
        while True:
            value = self.take(max(0.0, deadline - time.monotonic()), TimeoutError)
            if value is END:
                return
            if type(value) is Failed:
                raise value.error
            yield value

    def take(self, timeout: float | None, late: type[Exception] | None = None) -> Any:
        """Gives the next value as it came; `END` when there are no more."""
        if not self._ready and not self._wait(timeout):
            if late is None:
                import multiprocessing

                raise multiprocessing.TimeoutError
            raise late
        if not self._ready:
            if self._cancelled:
                raise CancelledError
            if self._problem is not None:
                problem, self._problem = self._problem, None
                raise problem
            return END
        value = self._ready.popleft()
        self._given += 1
        if not self._exhausted and self._read - self._given <= self._window() // 2:
            self._read_ahead()
        return value

    def _wait(self, timeout: float | None) -> bool:
        """Waits for a value or the end; False when neither came in time."""
        self._read_ahead()
        with self._lock:
            return bool(
                self._lock.wait_for(
                    lambda: self._ready or self._cancelled or self._given == self._read, timeout
                )
            )

    def _window(self) -> int:
        return _AHEAD * self._engine.workers * self._engine.batch_of(self.key)

    def _read_ahead(self) -> None:
        if self._exhausted or self._cancelled:
            return
        room = self._window() - (self._read - self._given)
        if room < 1:
            return
        items: list[Any] = []
        try:
            items.extend(itertools.islice(self._items, room))
        except BaseException as error:  # the input's own: raised in its place
            self._problem = error
            self._exhausted = True
        if len(items) < room:
            self._exhausted = True
        if items:
            start, self._read = self._read, self._read + len(items)
            self._engine.add(Span(self, items, start, 0, len(items)))


def wait_for_all(results: Results) -> list[Any]:
    """Takes all results of a map whose input is read as it goes; raises the first error last."""
    values: list[Any] = []
    error: BaseException | None = None
    while (value := results.take(None)) is not END:
        if type(value) is Failed:
            error = error or value.error
        values.append(value)
    if error is not None:
        raise error
    return values
