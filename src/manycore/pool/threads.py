"""`ThreadPool`: the pool's face over threads, for work that waits."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from manycore.base.conditions import Condition, join
from manycore.base.cpus import cpu_count

from . import checks
from .classic import Pool
from .future import Failed, Future
from .ledger import Ledger
from .limits import Limits, limits_of
from .lots import Calls, Span, TaskQueue
from .pace import Pace
from .rules import BOOT_TRIES
from .unread import Map, Unread


class ThreadPool(Pool):
    """Threads that work on tasks, with the methods of `Pool`.

    Nothing is pickled, nothing is copied, and what a task raises keeps its own traceback.

    Args:
        processes: How many threads; as many as there are CPUs when omitted.
        initializer: What each thread calls first. When it fails a few times, whoever uses the pool
            gets what it raised.
        initargs: With what.
        workers: How many, by another name.
        retries: How often a task that failed is tried again.
        retry_on: With which failures.

    Raises:
        ValueError: For a number that cannot be.

    Example:
        >>> with ThreadPool(2) as pool:
        ...     pool.map(abs, [-1, 2, -3])
        [1, 2, 3]
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        workers: int | None = None,
        retries: int = 0,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    ) -> None:
        count = checks.given(processes=processes, workers=workers)
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._limits = limits_of(None, retries, retry_on)
        engine = ThreadEngine(count or cpu_count(), initializer, tuple(initargs))
        self._engine: Any = engine
        self._forgotten = weakref.finalize(self, engine.terminate)
        self._forgotten.atexit = False

    def terminate(self) -> None:
        """Cancels what is not begun, and waits for nothing: a thread cannot be ended."""
        self._engine.terminate()

    def _limits_for(self, timeout: float | None, retries: int | None = None) -> Limits:
        if timeout is not None:
            raise ValueError(
                "a thread cannot be ended: a time limit needs a pool of processes; "
                "`get(timeout)` limits the wait"
            )
        return super()._limits_for(timeout, retries)

    def _check_seeds(self) -> None:
        raise ValueError("threads share their random numbers: a seed needs a pool of processes")


class ThreadEngine:
    """A queue and the threads that empty it.

    Args:
        workers: How many.
        initializer: What each calls first.
        initargs: With what.
    """

    cancels_running = False
    broken: BaseException | None = None

    def __init__(
        self, workers: int, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
    ) -> None:
        self.workers = workers
        self.queue = TaskQueue()
        self.unread = Unread()
        self.cancelling = self.queue.lock
        self.closed = False
        self.ledger = Ledger()
        self._busy = 0
        self._failed_boots = 0  # in a row
        self._pace = Pace()
        self._changed = Condition()
        self._initializer = initializer
        self._initargs = initargs
        self._threads = [
            threading.Thread(
                target=self._run, args=(number,), name=f"ThreadPool-{number}", daemon=True
            )
            for number in range(1, workers + 1)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, future: Future) -> None:
        """Queues a call."""
        self.check_open()
        self._append(future)

    def call(self, future: Future) -> Any:
        """Has a call done and waits for what it returns."""
        self.submit(future)
        return future.result()

    def put(self, span: Span) -> None:
        """Queues a map, or its first part."""
        self.check_open()
        self._append(span)

    def add(self, span: Span) -> None:
        """Queues a further part of a map."""
        if self.broken is None and any(thread.is_alive() for thread in self._threads):
            self._append(span)
        else:
            span.cancel()

    def _append(self, entry: Any) -> None:
        with self._changed:
            self.queue.waiting.append(entry)
            self._changed.notify(len(entry) if isinstance(entry, Span) else 1)
        if self.broken is not None:
            self.queue.fail_all(self.broken)

    def share(self, value: Any) -> Any:
        """Gives the object: nothing is sent to threads."""
        return value

    def batch_of(self, key: Hashable) -> int:
        """Threads need no batches."""
        del key
        return 1

    def check_open(self) -> None:
        """Raises what using a pool that cannot take a task raises."""
        if self.broken is not None:
            raise self.broken
        if self.closed:
            raise ValueError("Pool not running")

    def was_read(self, found: Map) -> None:
        """A map was read to its end, or will not be."""
        self.unread.discard(found)
        with self._changed:
            self._changed.notify_all()

    def cancel_running(self, future: Future) -> None:
        """Nothing: a thread cannot be ended."""

    def close(self) -> None:
        """Ends the threads when all is done that is queued now."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def terminate(self) -> None:
        """Cancels what is queued; what runs in a thread cannot be ended."""
        with self._changed:
            self.closed = True
            entries = self.queue.drain()
            self._changed.notify_all()
        self.unread.cancel_all()
        for entry in entries:
            if isinstance(entry, Future):
                entry.end_cancelled()
            else:
                entry.cancel()

    def join(self, timeout: float | None = None) -> bool:
        """Waits until all threads have ended."""
        if self.unread:
            self.unread.finish()
        for thread in self._threads:
            if thread is not threading.current_thread():
                join(thread, timeout)
        return not any(thread.is_alive() for thread in self._threads)

    def count_busy(self) -> int:
        """Says how many threads have a task."""
        return self._busy

    def describe(self) -> str:
        """Says in a few words how it stands."""
        state = "closed" if self.closed else ""
        words = [
            f"{self.workers} threads",
            f"{self.count_busy()} busy",
            f"{len(self.queue)} queued",
            state,
        ]
        return ", ".join(filter(None, words))

    def _run(self, number: int) -> None:
        ledger = self.ledger
        with self._changed:
            ledger.started(number, time.monotonic())
        if not self._prepare():
            return
        with self._changed:
            ledger.was_ready(number, time.monotonic())
        while (lot := self._next(number)) is not None:
            value = _call(lot)
            ended = time.monotonic()
            retry: deque[Any] = deque()
            failed = type(value) is Failed
            with self._changed:
                # before the result is there: whoever has it may look at the figures
                ledger.did(number, failed=failed, queued=bool(self.queue.waiting), now=ended)
            lot.deliver([value], retry, failed=failed)
            del value, lot
            with self._changed:
                self._busy -= 1
                ledger.retried += len(retry)
                self.queue.waiting.extendleft(retry)

    def _prepare(self) -> bool:
        """Calls the initializer, a few times if need be; False when the pool gives up."""
        while self._initializer is not None and self.broken is None:
            try:
                self._initializer(*self._initargs)
            except BaseException as error:
                self._failed_boots += 1
                if self._failed_boots >= BOOT_TRIES:
                    self._give_up(error)
            else:
                self._failed_boots = 0
                break
        return self.broken is None

    def _give_up(self, error: BaseException) -> None:
        """No thread can begin: whoever waits, or comes, is told."""
        with self._changed:
            self.broken = error
            self.closed = True
            self._changed.notify_all()
        self.unread.cancel_all()
        self.queue.fail_all(error)

    def _next(self, number: int) -> Calls | Span | None:
        with self._changed:
            while True:
                lot: Calls | Span | None = self.queue.take(1, 1, self._pace)
                if lot is not None:
                    self._busy += 1
                    self.ledger.sent(number, time.monotonic(), queued=bool(self.queue.waiting))
                    return lot
                if self.closed and not self.unread:
                    return None
                self._changed.wait()


def _call(lot: Calls | Span) -> Any:
    try:
        if isinstance(lot, Span):
            item = lot.arguments()[0]
            return lot.job.function(*item) if lot.job.star else lot.job.function(item)
        future = lot.futures[0]
        return future.function(*future.args, **(future.kwargs or {}))
    except BaseException as error:
        return Failed(error)
