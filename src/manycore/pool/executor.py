"""`Executor`: the pool with the face of `concurrent.futures`."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import _base
from types import TracebackType
from typing import TYPE_CHECKING, Any

from manycore.base import template
from manycore.base.cpus import cpu_count

from . import blas, checks
from .future import Future
from .limits import NO_LIMITS, Limits, limits_of
from .results import Results
from .seeds import SeededMap, number
from .shown import ShownResults

if TYPE_CHECKING:  # what a first pool does without is imported when it is asked for
    from .engine import Engine
    from .explain import Explanation
    from .statistics import PoolStatistics


class Executor(_base.Executor):
    """Processes that work on calls.

    Args:
        max_workers: How many; as many as there are CPUs when omitted.
        mp_context: For the standard library's sake; workers are always forked from the template.
        initializer: What each worker calls first.
        initargs: With what.
        max_tasks_per_child: After so many calls a worker is replaced.
        max_tasks_per_worker: The same.
        max_memory_per_worker: Bytes; a worker that holds more after a batch is replaced.
        timeout: Seconds that a call may take.
        retries: How often a call that failed is tried again.
        retry_on: With which failures.
        grace: Seconds from the exception inside a call that takes too long to its worker's end.
        cancel_running: Whether `Future.cancel` ends calls that are running.
        threads_per_worker: How many threads BLAS and OpenMP may have in each worker; by default its
            share of the CPUs.

    Raises:
        ValueError: For a number that cannot be.

    Example:
        >>> with Executor(max_workers=2) as executor:
        ...     executor.submit(pow, 2, 10).result()
        1024
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: object = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        max_tasks_per_worker: int | None = None,
        max_memory_per_worker: int | None = None,
        timeout: float | None = None,
        retries: int = 0,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] = Exception,
        grace: float = 0.5,
        cancel_running: bool = False,
        threads_per_worker: int | None = None,
    ) -> None:
        del mp_context
        self._limits = limits_of(timeout, retries, retry_on, grace)
        self._engine = start_engine(
            checks.given(max_workers=max_workers),
            initializer,
            initargs,
            tasks=checks.given(
                max_tasks_per_child=max_tasks_per_child, max_tasks_per_worker=max_tasks_per_worker
            ),
            memory=checks.size("max_memory_per_worker", max_memory_per_worker),
            threads=checks.given(threads_per_worker=threads_per_worker),
            cancels_running=cancel_running,
            finishes_at_exit=True,
        )
        # a forgotten executor finishes what it was given, as the standard library's does
        self._forgotten = weakref.finalize(self, self._engine.close)
        self._forgotten.atexit = False

    @property
    def _max_workers(self) -> int:
        """How many workers there are: Dask asks the standard library's executors for it."""
        return self._engine.workers

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Queues a call.

        Raises:
            RuntimeError: After `shutdown`.
        """
        engine = self._engine
        future = Future(fn, args, kwargs or None, engine)
        limits = self._limits
        if limits is not NO_LIMITS:
            future.limits = limits
        queue = engine.queue
        if queue.closed:
            self._check_open()
        queue.waiting.append(future)
        if engine.bell.wanted:
            engine.wake()
        return future

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        progress: bool = False,
        seed: int | None = None,
    ) -> Iterator[Any]:
        """Calls a function with items of iterables; gives its results in order.

        Only a few batches are read ahead, however long the iterables are. `chunksize` and
        `buffersize` are for the standard library's sake: batches are sized by measured time.

        Args:
            fn: The function.
            *iterables: One for each of its arguments.
            timeout: Seconds from now until a result that is not there is a TimeoutError.
            chunksize: Not used.
            buffersize: Not used.
            progress: Whether to show on standard error how far it is.
            seed: Gives each call random numbers of its own, on any number of workers the same.

        Raises:
            ValueError: For a number that cannot be.
            RuntimeError: After `shutdown`.
        """
        checks.whole("chunksize", chunksize)
        checks.given(buffersize=buffersize)
        if timeout is not None:
            timeout = checks.seconds("timeout", timeout, zero=True)
        self._check_open()
        single = len(iterables) == 1
        items: Iterable[Any] = iterables[0] if single else zip(*iterables, strict=False)
        star = not single
        if seed is not None:
            fn, items = SeededMap(fn, seed, star=star), number(items)
            star = False
        kind = ShownResults if progress else Results
        results = kind(self._engine, fn, items, self._limits, star=star, owner=self, stops=True)
        return results if timeout is None else results.until(timeout)

    def share(self, value: Any) -> Any:
        """Gives something that stands for an object and is sent to each worker once.

        Tasks that are given it, anywhere in their arguments, get the object. What is big in it is
        read-only there and not copied. It is forgotten when nobody holds what this gave.

        Args:
            value: The object; later changes to it are not seen by workers.

        Raises:
            SendError: When it cannot be sent.
            ValueError: When the pool is closed.

        Example:
            >>> with Executor(2) as pool:
            ...     table = pool.share({"a": 1})
            ...     pool.submit(dict.get, table, "a").result()
            1
        """
        return self._engine.share(value)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  # the standard library's
        """Takes no more calls and ends the workers when all is done.

        Args:
            wait: Whether to wait for that.
            cancel_futures: Whether calls that were not begun are cancelled.
        """
        if cancel_futures:
            self._engine.cancel_waiting()
        self._engine.close()
        if wait:
            self._engine.join()

    def statistics(self) -> PoolStatistics:
        """Gives the executor's figures at this moment; costs the workers nothing."""
        from .statistics import statistics_of

        return statistics_of(self._engine)

    def explain(self) -> Explanation:
        """Prints where the time of the workers went, and what to change; gives it, too."""
        from .explain import print_explanation

        return print_explanation(self._engine)

    def terminate(self) -> None:
        """Ends the workers now; what is not done is cancelled."""
        self._engine.terminate()
        self._engine.join()

    def _check_open(self) -> None:
        try:
            self._engine.check_open()
        except ValueError:
            raise RuntimeError("cannot schedule new futures after shutdown") from None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.terminate()  # whoever pressed Ctrl-C does not want to wait
        else:
            self.shutdown()


def start_engine(
    workers: int | None,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
    *,
    tasks: int | None,
    memory: int | None,
    threads: int | None = None,
    cancels_running: bool = False,
    finishes_at_exit: bool = False,
) -> Engine:
    """Starts what works.

    Raises:
        TypeError: When the initializer is no function.
    """
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    count = cpu_count() if workers is None else workers
    template.start_early("manycore.pool.worker", "manycore.pool.blas")
    from .engine import Engine  # meanwhile: it takes as long as the template's start

    return Engine(
        count,
        initializer=blas.Prepared(threads or blas.share(count), initializer),
        initargs=tuple(initargs),
        tasks_per_worker=tasks,
        memory_per_worker=memory,
        cancels_running=cancels_running,
        finishes_at_exit=finishes_at_exit,
    )


__all__ = ["Executor", "Limits"]
