"""What a worker calls in the place of a task's function, and how it limits one."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from manycore.errors import TaskTimeout

from .outbox import PackedError


class Packed:
    """In the place of a function whose call could not be written.

    Args:
        data: A pickled Failure.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __call__(self) -> None:
        """Raises why."""
        raise PackedError(self._data)


class Unreadable:
    """In the place of a function that could not be read, or whose arguments could not be.

    Args:
        error: Why.
    """

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __call__(self, *_: Any, **__: Any) -> None:
        """Raises why."""
        raise self._error


class Alarm:
    """Raises `TaskTimeout` inside a call that takes too long. For the main thread."""

    def __init__(self) -> None:
        self._limit = 0.0
        self._running = False

    def install(self) -> None:
        """Takes over the signal that the kernel's clock sends."""
        signal.signal(signal.SIGALRM, self._on_alarm)

    def call(self, function: Any, args: Any, kwargs: Any, timeout: float) -> Any:
        """Calls a function that may take so many seconds."""
        self._running = True
        self._limit = timeout
        signal.setitimer(signal.ITIMER_REAL, timeout)
        try:
            return function(*args, **kwargs)
        finally:
            self._running = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _on_alarm(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        if self._running:  # otherwise the task has just ended
            self._running = False
            raise TaskTimeout(self._limit)
