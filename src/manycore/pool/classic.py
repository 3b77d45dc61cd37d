"""`Pool`, with the face of `multiprocessing.Pool`."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from . import checks
from .executor import start_engine
from .future import Future
from .jobs import MapFuture, start_map
from .limits import Limits, limits_of
from .results import Results, wait_for_all
from .seeds import Numbered, Seeded, SeededMap, number
from .shown import ShownResults, show, wait_shown

if TYPE_CHECKING:  # what a first pool does without is imported when it is asked for
    from .explain import Explanation
    from .statistics import PoolStatistics


class _Way(NamedTuple):
    """How a map is done."""

    timeout: float | None
    chunksize: int | None
    star: bool = False
    progress: bool = False
    seed: int | None = None


class Pool:
    """Processes that work on tasks.

    When one of them dies, only the task that it was running fails: with `WorkerLost`, which says
    how. The pool goes on.

    Args:
        processes: How many; as many as there are CPUs when omitted.
        initializer: What each worker calls first.
        initargs: With what.
        maxtasksperchild: After so many tasks a worker is replaced.
        context: For the standard library's sake; workers are always forked from the template.
        workers: How many, by another name.
        max_tasks_per_worker: The same as `maxtasksperchild`.
        max_memory_per_worker: Bytes; a worker that holds more after a batch is replaced.
        timeout: Seconds that a task may take: then `TaskTimeout` is raised inside it.
        retries: How often a task that failed is tried again.
        retry_on: With which failures.
        grace: Seconds from the exception inside a task that takes too long to its worker's end.
        threads_per_worker: How many threads BLAS and OpenMP may have in each worker; by default its
            share of the CPUs.

    Raises:
        ValueError: For a number that cannot be.

    Example:
        >>> with Pool(2) as pool:
        ...     pool.map(abs, [-1, 2, -3])
        [1, 2, 3]
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: object = None,
        *,
        workers: int | None = None,
        max_tasks_per_worker: int | None = None,
        max_memory_per_worker: int | None = None,
        timeout: float | None = None,
        retries: int = 0,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] = Exception,
        grace: float = 0.5,
        threads_per_worker: int | None = None,
    ) -> None:
        del context
        self._limits = limits_of(timeout, retries, retry_on, grace)
        self._engine: Any = start_engine(
            checks.given(processes=processes, workers=workers),
            initializer,
            tuple(initargs),
            tasks=checks.given(
                maxtasksperchild=maxtasksperchild, max_tasks_per_worker=max_tasks_per_worker
            ),
            memory=checks.size("max_memory_per_worker", max_memory_per_worker),
            threads=checks.given(threads_per_worker=threads_per_worker),
        )
        self._forgotten = weakref.finalize(self, self._engine.terminate)
        self._forgotten.atexit = False

    # One task.

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Queues a call; gives a `concurrent.futures.Future`.

        Raises:
            ValueError: When the pool is closed.
        """
        future = Future(function, args, kwargs or None, self._engine)
        future.limits = self._limits
        self._engine.submit(future)
        return future

    def apply(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        seed: int | None = None,
    ) -> Any:
        """Calls a function in a worker and waits for what it returns.

        Args:
            func: The function.
            args: Its positional arguments.
            kwds: Its keyword arguments.
            timeout: Seconds that it may take; the pool's when omitted.
            seed: Gives the call random numbers that are the same each time.
        """
        if seed is not None:
            return self.apply_async(func, args, kwds, timeout=timeout, seed=seed).result()
        future = Future(func, tuple(args), dict(kwds) if kwds else None, self._engine)
        future.limits = self._limits_for(timeout)
        return self._engine.call(future)

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        timeout: float | None = None,
        retries: int | None = None,
        seed: int | None = None,
    ) -> Future:
        """Queues a call.

        Args:
            func: The function.
            args: Its positional arguments.
            kwds: Its keyword arguments.
            callback: Called with what it returned; in a thread of the pool, so it should be quick.
            error_callback: Called with what it raised.
            timeout: Seconds that it may take; the pool's when omitted.
            retries: How often it is tried again when it failed; the pool's when omitted.
            seed: Gives the call random numbers that are the same each time.

        Raises:
            ValueError: When the pool is closed, or for a number that cannot be.
        """
        if seed is not None:
            self._check_seeds()
            func = Seeded(func, seed)
        future = Future(func, tuple(args), dict(kwds) if kwds else None, self._engine)
        future.limits = self._limits_for(timeout, retries)
        _call_back(future, callback, error_callback)
        future.owner = self  # a pool whose results are awaited is not forgotten
        self._engine.submit(future)
        return future

    # Many tasks.

    def map(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        *,
        timeout: float | None = None,
        progress: bool = False,
        seed: int | None = None,
    ) -> list[Any]:
        """Calls a function with each item; gives the list of what it returns.

        Of something that has no length only a bounded part is read ahead.

        Args:
            func: The function.
            iterable: The items.
            chunksize: For the standard library's sake: batches are sized by measured time.
            timeout: Seconds that each item may take; the pool's when omitted.
            progress: Whether to show on standard error how far it is.
            seed: Gives each item random numbers of its own, on any number of workers the same.

        Raises:
            Exception: What the first item that failed raised, after all have ended.
            ValueError: When the pool is closed, or for a number that cannot be.
        """
        return self._map(func, iterable, _Way(timeout, chunksize, progress=progress, seed=seed))

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        *,
        timeout: float | None = None,
        progress: bool = False,
        seed: int | None = None,
    ) -> list[Any]:
        """As `map`, of items that are tuples of arguments."""
        return self._map(
            func, iterable, _Way(timeout, chunksize, star=True, progress=progress, seed=seed)
        )

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        timeout: float | None = None,
        progress: bool = False,
        seed: int | None = None,
    ) -> MapFuture:
        """As `map`, without waiting."""
        way = _Way(timeout, chunksize, progress=progress, seed=seed)
        return self._map_async(func, iterable, callback, error_callback, way)

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        timeout: float | None = None,
        progress: bool = False,
        seed: int | None = None,
    ) -> MapFuture:
        """As `starmap`, without waiting."""
        way = _Way(timeout, chunksize, star=True, progress=progress, seed=seed)
        return self._map_async(func, iterable, callback, error_callback, way)

    def imap(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        timeout: float | None = None,
        progress: bool = False,
        seed: int | None = None,
    ) -> Results:
        """Gives an iterator over what the function returns for each item, in order.

        Items are read as results are taken: a few batches ahead, however many there are.
        """
        return self._imap(func, iterable, _Way(timeout, chunksize, progress=progress, seed=seed))

    def imap_unordered(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        timeout: float | None = None,
        progress: bool = False,
        seed: int | None = None,
    ) -> Results:
        """As `imap`, in the order in which they come."""
        way = _Way(timeout, chunksize, progress=progress, seed=seed)
        return self._imap(func, iterable, way, ordered=False)

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
            >>> with Pool(2) as pool:
            ...     table = pool.share({"a": 1})
            ...     pool.submit(dict.get, table, "a").result()
            1
        """
        return self._engine.share(value)

    # The pool itself.

    def statistics(self) -> PoolStatistics:
        """Gives the pool's figures at this moment; costs the workers nothing.

        Example:
            >>> with Pool(2) as pool:
            ...     _ = pool.map(abs, range(1000))
            ...     pool.statistics().done
            1000
        """
        from .statistics import statistics_of

        return statistics_of(self._engine)

    def explain(self) -> Explanation:
        """Prints where the time of the workers went, and what to change; gives it, too.

        Example:
            >>> with Pool(2) as pool:
            ...     _ = pool.map(abs, range(1000))
            ...     explanation = pool.explain()  # doctest: +ELLIPSIS
            2 workers, ... s: 1,000 tasks done, 0 of them failed
            ...
        """
        from .explain import print_explanation

        return print_explanation(self._engine)

    def close(self) -> None:
        """Takes no more tasks; the workers end when all is done."""
        self._engine.close()

    def terminate(self) -> None:
        """Ends the workers now, and what they started; what is not done is cancelled."""
        self._engine.terminate()
        self._engine.join()

    def join(self) -> None:
        """Waits until the workers have ended.

        Raises:
            ValueError: When the pool was neither closed nor terminated.
        """
        if not self._engine.closed:
            raise ValueError("Pool is still running")
        self._engine.join()

    def _map(self, function: Callable[..., Any], iterable: Iterable[Any], way: _Way) -> list[Any]:
        if not isinstance(iterable, Sized):
            return wait_for_all(self._results(function, iterable, way, stops=True))
        items = _as_sequence(iterable)
        future = self._start(function, items, way)
        if way.progress:
            return wait_shown(future, function, len(items))
        return future.result()  # type: ignore[no-any-return]

    def _map_async(
        self,
        function: Callable[..., Any],
        iterable: Iterable[Any],
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        way: _Way,
    ) -> MapFuture:
        items = _as_sequence(iterable)
        future = self._start(function, items, way)
        _call_back(future, callback, error_callback)
        future.owner = self
        if way.progress:
            show(future, function, len(items))
        return future

    def _imap(
        self,
        function: Callable[..., Any],
        iterable: Iterable[Any],
        way: _Way,
        *,
        ordered: bool = True,
    ) -> Results:
        return self._results(function, iterable, way, ordered=ordered, owner=self)

    def _start(self, function: Callable[..., Any], items: Sequence[Any], way: _Way) -> MapFuture:
        limits, star = self._limits_of(way), way.star
        if way.seed is not None:
            function, items = self._seeded_map(function, way), Numbered(items)
            star = False
        return start_map(self._engine, function, items, limits, star=star)

    def _results(
        self, function: Callable[..., Any], iterable: Iterable[Any], way: _Way, **options: Any
    ) -> Results:
        limits, star = self._limits_of(way), way.star
        if way.seed is not None:
            function, iterable = self._seeded_map(function, way), number(iterable)
            star = False
        kind = ShownResults if way.progress else Results
        return kind(self._engine, function, iterable, limits, star=star, **options)

    def _seeded_map(self, function: Callable[..., Any], way: _Way) -> SeededMap:
        assert way.seed is not None
        self._check_seeds()
        return SeededMap(function, way.seed, star=way.star)

    def _check_seeds(self) -> None:
        """Raises where tasks cannot have random numbers of their own."""

    def _limits_of(self, way: _Way) -> Limits:
        checks.given(chunksize=way.chunksize)
        return self._limits_for(way.timeout)

    def _limits_for(self, timeout: float | None, retries: int | None = None) -> Limits:
        if timeout is None and retries is None:
            return self._limits
        own = self._limits
        return limits_of(
            own.timeout if timeout is None else timeout,
            own.retries if retries is None else retries,
            own.retry_on,
            own.grace,
        )

    def __enter__(self) -> Self:
        self._engine.check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.terminate()

    def __reduce__(self) -> Any:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._engine.describe()}>"


def _as_sequence(iterable: Iterable[Any]) -> Sequence[Any]:
    """Gives what can be cut in parts; a range is sent as a range."""
    return iterable if isinstance(iterable, range) else list(iterable)


def _call_back(
    future: Future,
    callback: Callable[[Any], object] | None,
    error_callback: Callable[[BaseException], object] | None,
) -> None:
    if callback is None and error_callback is None:
        return

    def tell(done: Any) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if error is None and callback is not None:
            callback(done.result())
        elif error is not None and error_callback is not None:
            error_callback(error)

    future.add_done_callback(tell)
