"""Lets handlers see that their worker drains: `draining()` and `draining_event()`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from manycore.base.doorbell import Doorbell

from .sleeping import here


class DrainingEvent:
    """Is set, once, when the worker is told to finish. In another process it is never.

    A handler with a long conversation waits for it, or looks at it now and then, says goodbye and
    returns. Whoever waits on sockets himself can wait on it too: it is readable once it is set.
    """

    def __init__(self) -> None:
        self._set = threading.Event()
        self._lock = threading.Lock()
        self._calls: dict[object, Callable[[], object]] = {}  # of those who wait in loops of theirs
        self._bell: Doorbell | None = None

    def is_set(self) -> bool:
        """Whether the worker has been told to finish."""
        return self._set.is_set()

    def wait(self, timeout: float | None = None) -> Any:
        """Waits for it: in threads and in greenlets; in asyncio it gives something to await.

        Args:
            timeout: Seconds to wait at most; None: as long as it takes.

        Returns:
            Whether it is set.
        """
        if here.hub is not None:
            return self._wait_in_greenlet(here.hub, timeout)
        asyncio = sys.modules.get("asyncio")
        if asyncio is not None and asyncio._get_running_loop() is not None:  # noqa: SLF001
            return self._wait_in_loop(timeout)
        return self._set.wait(timeout)

    def fileno(self) -> int:
        """Gives a descriptor that becomes readable when it is set; nobody may read it."""
        with self._lock:
            if self._bell is None:
                self._bell = Doorbell()
                if self.is_set():
                    self._bell.ring()
            return self._bell.fileno()

    def set(self) -> None:
        """Sets it; the server's to do."""
        with self._lock:
            self._set.set()
            if self._bell is not None:
                self._bell.ring()
            calls, self._calls = list(self._calls.values()), {}
        for call in calls:
            with suppress(RuntimeError):  # its loop is closed: nobody waits there any more
                call()

    def _call_when_set(self, who: object, call: Callable[[], object]) -> None:
        with self._lock:
            if not self.is_set():
                self._calls[who] = call
                return
        call()

    def _forget(self, who: object) -> None:
        with self._lock:
            self._calls.pop(who, None)

    async def _wait_in_loop(self, timeout: float | None) -> bool:  # noqa: ASYNC109  # threading's
        import asyncio

        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        self._call_when_set(future, lambda: loop.call_soon_threadsafe(wake))
        try:
            await asyncio.wait([future], timeout=timeout)
        finally:
            self._forget(future)
        return self.is_set()

    def _wait_in_greenlet(self, hub: Any, timeout: float | None) -> bool:
        from .modes.hub import Waiter

        waiter = Waiter(hub)
        # in the hub's thread, and so not before this greenlet waits
        self._call_when_set(waiter, lambda: hub.call(waiter.wake))
        try:
            waiter.wait(timeout)
        finally:
            self._forget(waiter)
        return self.is_set()

    def __repr__(self) -> str:
        return f"<manycore.draining_event, {'set' if self.is_set() else 'not set'}>"


_event: Final = DrainingEvent()


def draining() -> bool:
    """Whether this worker was told to finish: by a reload, a stop, or since it is one too many.

    It takes no new connections then, and those that are open have `graceful_timeout` seconds. A
    handler with a long conversation may say goodbye and return, so that its client comes back to a
    worker that stays.

    Returns:
        False in a process that is no worker of a server.

    Example:
        >>> draining()
        False
    """
    return _event.is_set()


def draining_event() -> DrainingEvent:
    """Gives what is set when this worker is told to finish, for handlers that wait.

    `wait(timeout)` blocks in threads, lets others run in greenlets, and is awaited in asyncio;
    `is_set()` looks; and `select` and its like take it beside a connection.

    Example:
        >>> draining_event().wait(timeout=0.001)
        False
    """
    return _event
