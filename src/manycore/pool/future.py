"""A light `concurrent.futures.Future`.

Making the standard library's costs several times what a task costs here, nearly all of it for a
Condition that nobody waits on. This one makes what it needs when it is needed.

Rules:

1. Whoever looks at a future from outside says so first, under a lock that is one for all, and then
   looks at its state. A batch of futures is finished under the same lock: those that nobody looks
   at by setting their state, the others after that, one by one, as `onlookers` has it.
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
from concurrent.futures._base import (
    CANCELLED,
    CANCELLED_AND_NOTIFIED,
    FINISHED,
    PENDING,
    RUNNING,
)
from contextlib import suppress
from typing import Any, Final, NamedTuple

from manycore.base.conditions import acquire

from .limits import NO_LIMITS, Limits
from .onlookers import LOOKING, Glance, Onlookers, end

__all__ = [
    "CANCELLED",
    "CANCELLED_AND_NOTIFIED",
    "FINISHED",
    "PENDING",
    "RUNNING",
    "Future",
    "finish",
]

CANCELLING: Final = threading.Lock()  # for futures of no queue

_LAST: Final = frozenset({FINISHED, CANCELLED_AND_NOTIFIED})
_OVER: Final = _LAST | {CANCELLED}  # a state for as long as somebody looks


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
    _done_callbacks: list[Callable[[Any], object]] | tuple[()] = ()

    observed = False  #: somebody may be waiting
    onlookers: Onlookers | None = None
    _sleepers: tuple[threading.Lock, ...] = ()
    limits: Limits = NO_LIMITS
    tried: int = 0
    doubts: int = 0  #: how many workers died before they had begun what was sent with it
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
        with LOOKING:
            if self._state in _OVER:
                return True
            self.observed = True
            self._sleepers = (*self._sleepers, sleeper)
        return acquire(sleeper, timeout)

    def wake(self) -> None:
        """Wakes who waits for the result. It is over."""
        with LOOKING:
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
            if self._state == PENDING:
                self._state = CANCELLED
                self.forget()
            elif self._state == FINISHED or (self._state == RUNNING and engine is None):
                return False
        if self._state in _OVER:
            end(self, CANCELLED_AND_NOTIFIED)
            return self._state != FINISHED
        if running or engine.cancels_running:
            engine.cancel_running(self)
            return True
        return False

    def end_cancelled(self) -> None:
        """For the dispatcher: the call is cancelled, whatever it was doing."""
        self.forget()
        end(self, CANCELLED_AND_NOTIFIED)

    def forget(self) -> None:
        """Lets go of what was to be called."""
        self.function = self.kwargs = self.owner = None
        self.args = ()

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Has a function called with this future when it is over, or now when it is.

        Args:
            fn: The function. It is called in a thread of the pool, so it should be quick.
        """
        with LOOKING:
            if self._state not in _OVER:
                self.observed = True
                self._done_callbacks = [*self._done_callbacks, fn]
                return
        super().add_done_callback(fn)

    def cancelled(self) -> bool:
        """Whether the call was cancelled."""
        return self._state in {CANCELLED, CANCELLED_AND_NOTIFIED}

    def running(self) -> bool:
        """Whether the call was sent to a worker, and is not over."""
        return self._state == RUNNING

    # For `onlookers`, and for the standard library.

    _condition: Any = property(lambda self: Glance(self, self._looked_at()))
    _waiters: Any = property(lambda self: self._looked_at().waiters)

    def _looked_at(self) -> Onlookers:
        with LOOKING:
            if self.onlookers is None:
                self.onlookers = Onlookers()
                self.observed = True
            return self.onlookers

    def end_now(self, state: str) -> bool:
        """Gives it its last state, under `LOOKING`; False when it has one."""
        if self._state in _LAST:
            return False
        self.observed = True  # a result that comes too late changes nothing
        self._state = state
        return True

    def tell(self, waiters: Sequence[Any]) -> None:
        """Tells these that it is over, and wakes who waits, and calls back."""
        for waiter in waiters:
            if self._state != FINISHED:
                waiter.add_cancelled(self)
            elif self._exception is not None:
                waiter.add_exception(self)
            else:
                waiter.add_result(self)
        self.wake()
        self._invoke_callbacks()  # type: ignore[attr-defined]

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
    with LOOKING:  # meanwhile nobody begins to look at one of them
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
        end(future, FINISHED)
