"""A light `concurrent.futures.Future`.

Making the standard library's costs several times what a task costs here, nearly all of it for a
Condition that nobody waits on. This one makes what it needs when it is needed.

Rules:

1. Whoever looks at a future from outside makes its Condition first, under a lock that is one for
   all, and then looks at its state. A batch of futures is finished under the same lock: those that
   nobody looks at by setting their state, the others after that, each under its own Condition.
2. Who waits for a result sleeps on a lock of its own. `with` over a plain lock is not interrupted
   between taking it and noting that; over a Condition it may be, by Ctrl-C, and then whoever
   finishes the future would wait for ever.
3. From PENDING a future goes to RUNNING or CANCELLED under the queue's lock, a batch at a time.
   After that only the dispatcher's thread changes it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, _base
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from contextlib import suppress
from typing import Any, Final, NamedTuple

from manycore.base.conditions import Condition, Event, acquire

from .limits import NO_LIMITS, Limits

__all__ = ["CANCELLED_AND_NOTIFIED", "FINISHED", "PENDING", "RUNNING", "Future", "finish"]

CANCELLING: Final = threading.Lock()  # for futures of no queue


_MAKING: Final = threading.Lock()


class _Lazy:
    """An attribute that is made on first use, by whichever thread comes first."""

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        self._name = name
        self._make = make

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        with _MAKING:
            value = instance.__dict__.setdefault(self._name, self._make())
            instance.observed = True
            return value


class _Waiters(list[Any]):
    """Who waits for several futures, in `concurrent.futures.wait` or `as_completed`."""

    def append(self, waiter: Any) -> None:
        """Adds one, before it begins to wait."""
        if not isinstance(waiter.event, Event):  # Ctrl-C would leave its lock held, and us waiting
            waiter.event = Event()
        super().append(waiter)


_OVER: Final = frozenset({FINISHED, CANCELLED_AND_NOTIFIED})


class Failed(NamedTuple):
    """Stands in a list of results for one that is none."""

    error: BaseException


class Future(_base.Future[Any]):
    """What a call will give.

    It is a `concurrent.futures.Future`: `wait`, `as_completed`, `asyncio.wrap_future` and so on
    take it.
    """

    _state: str = PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _condition = _Lazy("_condition", Condition)
    _waiters = _Lazy("_waiters", _Waiters)
    _done_callbacks = _Lazy("_done_callbacks", list)

    observed = False  #: somebody may be waiting
    _sleepers: tuple[threading.Lock, ...] = ()
    limits: Limits = NO_LIMITS
    tried: int = 0
    owner: object = None  #: what must live until this is done

    def __init__(
        self,
        function: Any = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        engine: Any = None,
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self._engine = engine

    def result(self, timeout: float | None = None) -> Any:
        """Waits for what the call returns.

        Args:
            timeout: Seconds to wait at most; None: as long as it takes.

        Raises:
            BaseException: What the call raised, with the traceback there as its cause.
            WorkerLost: When the worker died while it ran this call.
            TaskTimeout: When the call took longer than it may.
            CancelledError: When the call was cancelled.
            TimeoutError: When there is no result in time; the call goes on.
        """
        if self._state != FINISHED:
            if not self._sleep(timeout):
                raise TimeoutError
            if self._state != FINISHED:
                raise CancelledError
        if self._exception is None:
            return self._result
        try:
            raise self._exception
        finally:
            self = None  # type: ignore[assignment]  # noqa: PLW0642  # it would be a cycle

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As `result`, but gives what the call raised; None when it returned."""
        if not self._sleep(timeout):
            raise TimeoutError
        if self._state != FINISHED:
            raise CancelledError
        return self._exception

    def _sleep(self, timeout: float | None) -> bool:
        """Waits until the call is over; False when it is not in time."""
        if self._state in _OVER:
            return True
        sleeper = threading.Lock()
        sleeper.acquire()
        with _MAKING:
            if self._state in _OVER:
                return True
            self.observed = True
            self._sleepers = (*self._sleepers, sleeper)
        return acquire(sleeper, timeout)

    def _wake(self) -> None:
        """Wakes who waits. It is over."""
        with _MAKING:
            sleepers, self._sleepers = self._sleepers, ()
        for sleeper in sleepers:
            sleeper.release()

    def done(self) -> bool:
        """Whether the call is over."""
        return self._state in _OVER

    def cancel(self, *, running: bool = False) -> bool:
        """Cancels the call.

        Args:
            running: Whether to end it, by ending its worker, when it has been sent already.

        Returns:
            Whether it will not give a result.
        """
        engine = self._engine
        with CANCELLING if engine is None else engine.cancelling:
            if self._state == CANCELLED_AND_NOTIFIED:
                return True
            if self._state == PENDING:
                self._set_cancelled()
                self.forget()
            elif self._state == FINISHED or engine is None:
                return False
        if self._state == CANCELLED_AND_NOTIFIED:
            self._invoke_callbacks()  # type: ignore[attr-defined]
            return True
        if running or engine.cancels_running:
            engine.cancel_running(self)
            return True
        return False

    def _set_cancelled(self) -> None:
        with self._condition:
            self._state = CANCELLED_AND_NOTIFIED
            for waiter in self._waiters:
                waiter.add_cancelled(self)
            self._condition.notify_all()
        self._wake()

    def end_cancelled(self) -> None:
        """For the dispatcher: the call is cancelled, whatever it was doing."""
        self.forget()
        if self._state not in {FINISHED, CANCELLED_AND_NOTIFIED}:
            self._set_cancelled()
            self._invoke_callbacks()  # type: ignore[attr-defined]

    def forget(self) -> None:
        """Lets go of what was to be called."""
        self.function = self.kwargs = self.owner = None
        self.args = ()

    # The names of multiprocessing.pool.AsyncResult.

    def ready(self) -> bool:
        """Whether the call is over."""
        return self.done()

    def successful(self) -> bool:
        """Whether the call returned.

        Raises:
            ValueError: When it is not over.
        """
        if not self.done():
            raise ValueError(f"{self!r} not ready")
        return self._state == FINISHED and self._exception is None

    def wait(self, timeout: float | None = None) -> None:
        """Waits until the call is over, for `timeout` seconds at most."""
        if self._state == FINISHED:
            return
        with suppress(TimeoutError, CancelledError):
            self.exception(timeout)

    def get(self, timeout: float | None = None) -> Any:
        """As `result`, but raises `multiprocessing.TimeoutError` when there is none in time."""
        if self._state == FINISHED:
            return self.result()
        self.wait(timeout)
        if not self.done():
            import multiprocessing

            raise multiprocessing.TimeoutError
        return self.result()


def finish(futures: Sequence[Future], values: Sequence[Any]) -> None:
    """Gives futures their results, or the errors that stand in their place."""
    watched = []
    with _MAKING:  # meanwhile nobody begins to look at one of them
        for future, value in zip(futures, values, strict=True):
            if type(value) is Failed:
                future._exception = value.error  # noqa: SLF001  # the two are one subject
            else:
                future._result = value  # noqa: SLF001
            future.function = future.kwargs = future.owner = None
            future.args = ()
            if future.observed:
                watched.append(future)
            else:
                future._state = FINISHED  # noqa: SLF001
    # only now, or whoever waits for one after the other would be woken for each of them
    for future in watched:
        _tell(future)


def _tell(future: Future) -> None:
    with _MAKING:
        is_looked_at = "_condition" in future.__dict__
        if not is_looked_at:
            future._state = FINISHED  # noqa: SLF001
    if is_looked_at:
        _tell_all(future)
    future._wake()  # noqa: SLF001


def _tell_all(future: Future) -> None:
    with future._condition:  # noqa: SLF001
        future._state = FINISHED  # noqa: SLF001
        for waiter in future._waiters:  # noqa: SLF001
            if future._exception is not None:  # noqa: SLF001
                waiter.add_exception(future)
            else:
                waiter.add_result(future)
        future._condition.notify_all()  # noqa: SLF001
    future._invoke_callbacks()  # type: ignore[attr-defined]  # noqa: SLF001
