"""Calls that are due later, in the supervisor's one loop."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable


class Timers:
    """Functions, and when they are to be called."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()  # no two functions are compared

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Calls a function once, after some seconds."""
        entry = time.monotonic() + seconds, next(self._numbers), function
        heapq.heappush(self._heap, entry)

    def deadline(self) -> float | None:
        """When the next is due."""
        return self._heap[0][0] if self._heap else None

    def run(self) -> None:
        """Calls those that are due."""
        while self._heap and self._heap[0][0] <= time.monotonic():
            heapq.heappop(self._heap)[2]()
