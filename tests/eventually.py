"""Waiting on a condition, with a deadline."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.005  # seconds between two looks


def eventually(
    condition: Callable[[], T], *, within: float, what: Callable[[], str] | None = None
) -> T:
    """Returns what the condition gives as soon as that is true.

    Args:
        condition: Asked again and again.
        within: Seconds until the test fails.
        what: Says what was the matter, when it fails.
    """
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(what() if what else f"not within {within} s")
        time.sleep(_PAUSE)


def interrupt_from_here() -> None:
    """Sends Ctrl-C to this thread: the main one shall see it, and no system call of it ends."""
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
