"""The results of a map, one after the other, while its items are read."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any, Final, Self

from manycore.base.conditions import Condition

from .future import Failed
from .jobs import Engine, may_try_again
from .limits import Limits
from .lots import Span
from .pace import key_of
from .shared import Once

END: Final = object()  # in the place of a value: there are no more
_AHEAD: Final = 4  # batches for each worker that an imap reads ahead


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
        self.known: Any = None
        self.once: Once | None = None  # whoever gives the items may give one again, changed
        self._engine = engine
        self._items = iter(iterable)
        self._ordered = ordered
        self._owner = owner
        self._lock = Condition()
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
        except Exception as error:  # the input's own: raised in its place
            self._problem = error
            self._exhausted = True
        except BaseException:  # Ctrl-C: raised now
            self._queue(items)
            raise
        if len(items) < room:
            self._exhausted = True
        self._queue(items)

    def _queue(self, items: list[Any]) -> None:
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
