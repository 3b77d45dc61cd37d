"""The results of a map, one after the other, while its items are read."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from typing import Any, Final, Self

from .future import Failed
from .jobs import Engine
from .limits import Limits
from .reading import Reading

END: Final = object()  # in the place of a value: there are no more


class Results(Iterator[Any]):
    """The results of a map, one after the other; items are read as results are taken.

    Args:
        engine: What runs them.
        function: What is called.
        iterable: With what.
        limits: Of each item.
        star: Whether each item is a tuple of arguments.
        ordered: Whether results come in the order of the input.
        owner: What must live as long as this.
        stops: Whether the rest of the input is not read when this is dropped half way.
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
        stops: bool = False,
    ) -> None:
        self._reading = Reading(
            engine, function, iterable, limits, star=star, ordered=ordered, stops=stops
        )
        self._ready = self._reading.hand_over()
        self._engine = engine
        self._owner = owner

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
        """Gives the results that come within so many seconds from now; then a TimeoutError."""
        return self._until(time.monotonic() + timeout)

    def _until(self, deadline: float) -> Iterator[Any]:
        while True:
            value = self.take(max(0.0, deadline - time.monotonic()), TimeoutError)
            if value is END:
                return
            if type(value) is Failed:
                raise value.error
            yield value

    def take(self, timeout: float | None, late: type[Exception] | None = None) -> Any:
        """Gives the next value as it came; `END` when there are no more."""
        reading = self._reading
        ready = self._ready
        if not ready and not reading.wait(timeout):
            if late is None:
                import multiprocessing

                raise multiprocessing.TimeoutError
            raise late
        if not ready:
            return self._end()
        value = ready.popleft()
        reading.took()
        return value

    def _end(self) -> Any:
        reading = self._reading
        if reading.cancelled:
            raise self._engine.broken or CancelledError
        if reading.problem is not None:
            problem, reading.problem = reading.problem, None
            raise problem
        return END


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
