"""What a worker does with one line."""

from __future__ import annotations

from typing import Any

from manycore.base import targets
from manycore.errors import TargetError

from . import records

_work: dict[str, Any] = {}  # this worker's function, and what it is called with


def load(target: str) -> Any:
    """Gives the function.

    Raises:
        TargetError: When there is none.
    """
    function = targets.load(target)
    if not callable(function):
        kind = type(function).__name__
        raise TargetError(target, f"it is a {kind}, which cannot be called", "name a function")
    return function


def begin(target: str, items: str) -> None:
    """Makes this worker ready: loads the function."""
    _work.update(function=load(target), items=items)


def do(number: int, text: str) -> bytes:
    """Calls the function with an item; gives the line to write.

    JSON is written here, on every core, and not by the one process that collects.
    """
    item = records.as_item(text, _work["items"])
    return records.success(number, item, _work["function"](item))
