"""Maps whose progress is shown: `progress=True`."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Sized
from concurrent.futures import CancelledError
from typing import Any, Final

from .future import Failed
from .jobs import MapFuture
from .lots import name_of
from .progress import Bar, open_bar
from .results import END, Results

_LOOKED_EVERY: Final = 0.1  # seconds: as often as a bar is drawn


def wait_shown(future: MapFuture, function: Any, total: int) -> list[Any]:
    """Waits for a map, and shows how far it is; gives what it gives."""
    _watch(future, open_bar(name_of(function), total), total)
    return future.result()  # type: ignore[no-any-return]


def show(future: MapFuture, function: Any, total: int) -> None:
    """Shows how far a map is, while the program goes on: in a thread that ends with it."""
    bar = open_bar(name_of(function), total)
    threading.Thread(
        target=_watch, args=(future, bar, total), name="manycore-progress", daemon=True
    ).start()


def _watch(future: MapFuture, bar: Bar, total: int) -> None:
    try:
        while not future.done():
            bar.show(total - future.left)
            future.wait(_LOOKED_EVERY)
        bar.show(total - future.left)
    finally:
        bar.close()


class ShownResults(Results):
    """Results that are counted as they are taken.

    Args:
        function: What is called.
        iterable: With what; its length is shown, if it has one.
        *args: As for `Results`.
        **kwargs: The same.
    """

    def __init__(
        self, engine: Any, function: Any, iterable: Iterable[Any], *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(engine, function, iterable, *args, **kwargs)
        total = len(iterable) if isinstance(iterable, Sized) else None
        self._bar = open_bar(name_of(function), total)
        self._taken = self._failures = 0
        self._closing = weakref.finalize(self, self._bar.close)  # nobody may take them all

    def take(self, timeout: float | None, late: type[Exception] | None = None) -> Any:
        """Gives the next value as it came; `END` when there are no more."""
        try:
            value = super().take(timeout, late)
        except (KeyboardInterrupt, CancelledError):
            self._closing()
            raise
        if value is END:
            self._closing()
            return value
        self._taken += 1
        self._failures += type(value) is Failed
        self._bar.show(self._taken, self._failures)
        return value
