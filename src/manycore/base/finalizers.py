"""What is to be done when an object is gone."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any


def when_gone(owner: object, function: Callable[..., object], *arguments: Any) -> Callable[[], Any]:
    """Has a function called once when an object is gone: by this process alone, and not at its end.

    `multiprocessing.util.Finalize` does the same, but when a Ctrl-C meets the making of one, the
    interpreter complains of it later.

    Args:
        owner: The object.
        function: The function; it must not keep the object.
        *arguments: What it is called with.

    Returns:
        What calls it at once, unless it was called.

    Example:
        >>> class Thing: pass
        >>> thing = Thing()
        >>> done = when_gone(thing, print, "gone")
        >>> del thing
        gone
    """
    finalizer = weakref.finalize(owner, _call_in, os.getpid(), function, arguments)
    finalizer.atexit = False
    return finalizer


def _call_in(process: int, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    if os.getpid() == process:  # a copy may have other files under the same numbers
        function(*arguments)
