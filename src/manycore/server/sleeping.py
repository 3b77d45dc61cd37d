"""Sleeping in any handler."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Sleeper(Protocol):
    """What lets a greenlet sleep."""

    def sleep(self, seconds: float) -> None:
        """Lets others run meanwhile."""


class _Here(threading.local):
    hub: Sleeper | None = None


here = _Here()  # the hub of greenlets that runs in this thread, if one does


def sleep(seconds: float) -> None:
    """Sleeps, and lets other connections go on meanwhile.

    In a greenlet of a server's handler only that greenlet sleeps. Elsewhere it is `time.sleep`. In
    asyncio use `asyncio.sleep`.

    Args:
        seconds: For how long. 0 lets others run once.

    Raises:
        ValueError: When it is below 0.

    Example:
        >>> sleep(0.001)
    """
    hub = here.hub
    if hub is None:
        time.sleep(seconds)
    else:
        hub.sleep(seconds)
