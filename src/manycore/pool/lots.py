"""Tasks that wait and tasks that travel together: single calls, and spans of a map. Pure.

A map is one entry of the queue, however long it is: a batch is cut from its front.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any, Final, Protocol

from .future import PENDING, RUNNING, Failed, Future, finish
from .limits import Limits
from .pace import LEAST, TARGET, Pace, key_of
from .shared import Once

#: so many workers that die of reading a task are its fault, and not that of who kills them
POISONOUS: Final = 3


class Calls:
    """Single calls that travel together.

    Attributes:
        futures: One for each.
        key: What their time is remembered by.
        timeout: Seconds until the worker of one of them is killed.
    """

    __slots__ = ("futures", "key", "timeout")

    def __init__(self, futures: list[Future], key: Hashable, timeout: float | None) -> None:
        self.futures = futures
        self.key = key
        self.timeout = timeout

    def __len__(self) -> int:
        return len(self.futures)

    def __getitem__(self, part: slice) -> Calls:
        return Calls(self.futures[part], self.key, self.timeout)

    def deliver(self, values: Sequence[Any], retry: deque[Any], *, failed: bool) -> None:
        """Gives each future its value; those that are tried again go into `retry`."""
        if failed:
            self._deliver_some(values, retry)
        else:
            finish(self.futures, values)

    def _deliver_some(self, values: Sequence[Any], retry: deque[Any]) -> None:
        for future, value in zip(self.futures, values, strict=True):
            if type(value) is Failed and future.limits.retries:
                future.tried += 1
                if future.limits.may_try_again(future.tried, value.error):
                    future._state = PENDING  # noqa: SLF001  # rule 3 of the future: it is ours
                    retry.append(future)
                    continue
            finish([future], [value])

    def doubt(self) -> bool:
        """Counts that a worker died before it had begun any; whether that is due to this one."""
        for future in self.futures:
            future.doubts += 1
        return len(self.futures) == 1 and self.futures[0].doubts >= POISONOUS

    def cancel(self) -> None:
        """Ends all of them."""
        for future in self.futures:
            future.end_cancelled()

    @property
    def allowed(self) -> float | None:
        """Seconds that the first of them may take, as the user said."""
        return self.futures[0].limits.timeout

    def names(self) -> str:
        """Says which function the first of them calls."""
        return name_of(self.futures[0].function)


class Job(Protocol):
    """A map, as its spans see it.

    Attributes:
        function: What is called.
        star: Whether each item is a tuple of arguments.
        key: What the time of its tasks is remembered by.
        limits: Of each item.
        known: The function as it was written for workers; None until then.
        once: What was met among its items; None when items may change while it runs.
    """

    function: Any
    star: bool
    key: Hashable
    limits: Limits
    known: Any
    once: Once | None

    def deliver(self, start: int, values: Sequence[Any], *, failed: bool) -> list[int]:
        """Takes values in; gives the indexes of those that are to be tried again."""

    def cancel(self) -> None:
        """Says that there will be no more values."""


class Span:
    """A part of a map that was not sent, or not finished.

    Attributes:
        job: The map.
        items: Arguments; more than this part.
        offset: The index in the map of the list's first one.
        start: Where in the list the part begins.
        stop: Where it ends.
        doubts: How many workers died before they had begun any of it.
    """

    __slots__ = ("doubts", "items", "job", "offset", "start", "stop")

    def __init__(
        self, job: Job, items: Sequence[Any], offset: int, start: int, stop: int, doubts: int = 0
    ) -> None:
        self.job = job
        self.items = items
        self.offset = offset
        self.start = start
        self.stop = stop
        self.doubts = doubts

    @property
    def key(self) -> Hashable:
        """What the time of its tasks is remembered by."""
        return self.job.key

    @property
    def timeout(self) -> float | None:
        """Seconds until the worker of one of its tasks is killed."""
        return self.job.limits.hard

    @property
    def allowed(self) -> float | None:
        """Seconds that each of its tasks may take, as the user said."""
        return self.job.limits.timeout

    def arguments(self) -> Sequence[Any]:
        """Gives what the function is called with."""
        return self.items[self.start : self.stop]

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, part: slice) -> Span:
        start, stop, _ = part.indices(len(self))
        start, stop = self.start + start, self.start + stop
        return Span(self.job, self.items, self.offset, start, stop, self.doubts)

    def doubt(self) -> bool:
        """Counts that a worker died before it had begun any; whether that is due to this one."""
        self.doubts += 1
        return len(self) == 1 and self.doubts >= POISONOUS

    def deliver(self, values: Sequence[Any], retry: deque[Any], *, failed: bool) -> None:
        """Gives the map its values; parts that are tried again go into `retry`."""
        for index in self.job.deliver(self.offset + self.start, values, failed=failed):
            at = index - self.offset
            retry.append(Span(self.job, self.items, self.offset, at, at + 1))

    def cancel(self) -> None:
        """Ends the map."""
        self.job.cancel()

    def names(self) -> str:
        """Says which function it calls, and with what number of the map."""
        return f"{name_of(self.job.function)}, item {self.offset + self.start} of a map"


class TaskQueue:
    """Tasks that wait, in order. Any thread may append; one thread takes.

    Attributes:
        waiting: Futures and spans.
        lock: Held while futures change from waiting to sent, or to cancelled.
        closed: Whether nothing more is to be added.
    """

    def __init__(self) -> None:
        self.closed = False
        self.waiting: deque[Any] = deque()
        self.lock = threading.Lock()

    def __len__(self) -> int:
        try:
            head = self.waiting[0]
        except IndexError:
            return 0
        return len(self.waiting) - 1 + (len(head) if type(head) is Span else 1)

    def take(self, most: int, fair: int, pace: Pace) -> Any:
        """Gives tasks for a batch; None when all were cancelled.

        Args:
            most: How many at most.
            fair: How many leave enough for others, when these are worth a message.
            pace: How long they take.
        """
        try:
            head = self.waiting[0]
        except IndexError:
            return None
        if type(head) is not Span:
            with self.lock:
                return self._take_calls(most, fair, pace)
        count = min(most, pace.fits(head.key), max(fair, pace.worthwhile(head.key)))
        if head.doubts:
            count = 1
        if count >= len(head):
            return self.waiting.popleft()
        self.waiting[0] = head[count:]
        return head[:count]

    def _take_calls(self, most: int, fair: int, pace: Pace) -> Calls | None:
        waiting = self.waiting
        left, enough = TARGET, TARGET - LEAST
        calls: list[Future] = []
        function = limits = key = None
        cost = 0.0
        while waiting and len(calls) < most:
            future = waiting[0]
            if type(future) is Span:
                break
            if future._state != PENDING:  # noqa: SLF001  # cancelled
                waiting.popleft()
                continue
            if future.limits is not limits:
                if calls:
                    break
                limits = future.limits
            if future.function is not function:
                function = future.function
                key = key_of(function)
                cost = pace.seconds(key)
            left -= cost
            if calls and (left < 0 or (len(calls) >= fair and left < enough) or future.doubts):
                break
            future._state = RUNNING  # noqa: SLF001
            calls.append(waiting.popleft())
            if future.doubts:
                break
        if not calls:
            return None
        assert limits is not None
        return Calls(calls, key, limits.hard)

    def give_back(self, lot: Any) -> None:
        """Takes tasks that were not begun; they are the next."""
        if type(lot) is Span:
            self.waiting.appendleft(lot)
            return
        with self.lock:
            for future in reversed(lot.futures):
                if future._state == RUNNING:  # noqa: SLF001
                    future._state = PENDING  # noqa: SLF001
                    self.waiting.appendleft(future)

    def drain(self) -> list[Any]:
        """Gives all that waits, and is empty."""
        found = []
        while self.waiting:
            found.append(self.waiting.popleft())
        return found

    def cancel_all(self) -> None:
        """Ends all that waits."""
        for entry in self.drain():
            if type(entry) is Span:
                entry.cancel()
            else:
                entry.end_cancelled()

    def cancel_spans(self) -> None:
        """Ends the maps that wait."""
        for entry in self.drain():
            if type(entry) is Span:
                entry.cancel()
            else:
                self.waiting.append(entry)

    def fail_all(self, error: BaseException) -> None:
        """Ends all that waits with an error."""
        for entry in self.drain():
            if type(entry) is Span:
                entry.deliver([Failed(error)] * len(entry), deque(), failed=True)
            elif not entry.done():
                finish([entry], [Failed(error)])


def name_of(function: Any) -> str:
    """Gives what a person would call a function."""
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None) or repr(function)
    return name if module in {None, "builtins", "__main__"} else f"{module}.{name}"
