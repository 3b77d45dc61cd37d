"""A map whose items are read while its results are taken: the pool's side.

Rules:

1. However long the input is, only a bounded number of items is read ahead: a few batches for each
   worker. They are read by the thread that takes the results; where there is none, by `unread`.
2. Values are in a deque that who takes them holds, and this does not: when that is dropped, they
   go, and it is seen here by whatever happens next. Nothing is called at that moment, in the middle
   of the program's own code: a Ctrl-C would be lost there.
3. Nobody waits for who is reading: a generator may take as long as it likes.
"""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Final

from manycore.base.conditions import Condition

from .future import Failed
from .jobs import Engine, may_try_again
from .limits import Limits
from .lots import Span
from .pace import key_of
from .shared import Once

_AHEAD: Final = 4  # batches for each worker that are read ahead


class Reading:
    """A map's items and results.

    Args:
        engine: What runs them.
        function: What is called.
        iterable: With what.
        limits: Of each item.
        star: Whether each item is a tuple of arguments.
        ordered: Whether results come in the order of the input.
        stops: Whether no more is read once results were dropped of which some were taken.

    Attributes:
        given: How many were taken.
        cancelled: Whether there will be no more: the pool was terminated.
        problem: What the input raised.
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
        stops: bool = False,
    ) -> None:
        engine.check_open()
        self.function = function
        self.star = star
        self.limits = limits
        self.key: Hashable = key_of(function)
        self.known: Any = None
        self.once: Once | None = None  # whoever gives the items may give one again, changed
        self._held: deque[Any] | None = deque()  # until somebody takes it over
        self._ready = weakref.ref(self._held)
        self.given = 0
        self.cancelled = False
        self.touched = False
        self._stops = stops
        self.problem: BaseException | None = None
        self._engine = engine
        self._items = iter(iterable)
        self._ordered = ordered
        self._changed = Condition()
        self._hands = threading.Lock()  # of who reads
        self._early: dict[int, Any] = {}  # values that came before their turn
        self._tries: dict[int, int] = {}
        self._next = 0  # the index of the next value to be ready
        self._read = 0
        self._done = 0
        self._exhausted = False
        self._is_torn = False  # Ctrl-C came between two steps: nobody knows what was queued
        engine.unread.add(self)
        try:
            self.read_ahead()
        except BaseException:
            self.cancel()
            raise

    # For the pool.

    def deliver(self, start: int, values: Sequence[Any], *, failed: bool) -> list[int]:
        """Takes values in; gives the indexes of those that are to be tried again."""
        again: list[int] = []
        if failed and self.limits.retries:
            for place, value in enumerate(values):
                if type(value) is Failed and may_try_again(
                    self.limits, self._tries, start + place, value
                ):
                    again.append(start + place)
        with self._changed:
            self._done += len(values) - len(again)
            ready = self._ready()
            if ready is None:
                self.given = self._done
                self._early.clear()
            elif not self._ordered:
                ready.extend(
                    value for place, value in enumerate(values, start) if place not in again
                ) if again else ready.extend(values)
            elif start == self._next and not again and not self._early:
                ready.extend(values)
                self._next += len(values)
            else:
                self._early.update(
                    (place, value)
                    for place, value in enumerate(values, start)
                    if place not in again
                )
                while self._next in self._early:
                    ready.append(self._early.pop(self._next))
                    self._next += 1
            self._changed.notify_all()
        if self.undecided or (self.dropped and not self.touched):
            self._engine.unread.start()
        else:
            self._engine.unread.look()
        return again

    @property
    def dropped(self) -> bool:
        """Whether nobody will take any more."""
        return self._ready() is None

    @property
    def undecided(self) -> bool:
        """Whether nothing will happen here until somebody wants a result, or drops them all."""
        idle = self._read == self._done and not self._exhausted and not self.cancelled
        return idle and not self.touched and not self.dropped

    def cancel(self) -> None:
        """There will be no more values: the pool was terminated."""
        with self._changed:
            self.cancelled = True
            self._changed.notify_all()
        self._engine.was_read(self)

    def read_on(self) -> None:
        """Reads more, though nobody takes what is done; what is not done is limited."""
        if self._stops and self.touched and self.dropped:
            self.cancel()
            return
        try:
            self._read_some(lambda: self._done)
        except BaseException as error:
            self._end(error)

    # For who takes the results.

    def hand_over(self) -> deque[Any]:
        """Gives where the values are; whoever lets go of it takes no more."""
        assert self._held is not None
        held, self._held = self._held, None
        return held

    def wait(self, timeout: float | None) -> bool:
        """Waits for a value or the end; False when neither came in time."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self.touched = True
        while True:
            self.read_ahead()
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            with self._changed:
                if not self._changed.wait_for(lambda: self._is_there or self._is_starved, left):
                    return False
                if self._is_there:
                    return True

    @property
    def _is_there(self) -> bool:
        """Whether there is a value, or the end."""
        ended = self._exhausted and self.given == self._read
        return bool(self._ready()) or self.cancelled or ended

    @property
    def _is_starved(self) -> bool:
        """Whether there is nothing to wait for, before more is read."""
        return self.given == self._read and not self._hands.locked()

    def took(self) -> None:
        """A value was taken."""
        self.given += 1
        self.touched = True
        if not self._exhausted and self._read - self.given <= self._window() // 2:
            self.read_ahead()

    def read_ahead(self) -> None:
        """Reads more, unless so much was not taken yet."""
        self._read_some(lambda: self.given)

    # The input.

    def _window(self) -> int:
        return _AHEAD * self._engine.workers * self._engine.batch_of(self.key)

    def _read_some(self, settled: Callable[[], int]) -> None:
        """Reads until so many items, and not more, are read and not settled."""
        if self._exhausted or self.cancelled or self._hands.locked():
            return
        with self._hands:
            room = self._window() - (self._read - settled())
            if room < 1 or self._exhausted:
                return
            if self._is_torn:
                self.cancel()
                return
            self._is_torn = True
            items: list[Any] = []
            try:
                items.extend(itertools.islice(self._items, room))
            except Exception as error:  # the input's own: raised in its place
                self._queue(items)
                self._end(error)
            except BaseException:  # Ctrl-C: raised now
                self._queue(items)
                raise
            else:
                self._queue(items)
                if len(items) < room:
                    self._end(None)
        with self._changed:
            self._changed.notify_all()

    def _queue(self, items: list[Any]) -> None:
        if items:
            start, self._read = self._read, self._read + len(items)
            self._engine.add(Span(self, items, start, 0, len(items)))
        self._is_torn = False

    def _end(self, problem: BaseException | None) -> None:
        """The input has ended."""
        with self._changed:
            self.problem = problem
            self._exhausted = True  # after all else: whoever waits looks at it first
            self._changed.notify_all()
        self._items = iter(())
        self._engine.was_read(self)
