"""What waits in a mode and is no thread: tasks of asyncio, greenlets. For whoever wants stacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from manycore.base.stacks import MOST_FRAMES, Found, Frame, call, calls

if TYPE_CHECKING:
    import asyncio


def find_tasks(loop: asyncio.AbstractEventLoop) -> Iterator[Found]:
    """Finds the tasks of a loop, from any thread."""
    import asyncio  # only who has a loop asks

    for task in asyncio.all_tasks(loop):
        yield "task", task.get_name(), _chain(task.get_coro())


def _chain(waiter: Any) -> tuple[Frame, ...]:
    """Gives the calls of a coroutine: its own, and those of what it waits for."""
    found: list[Frame] = []
    while waiter is not None and len(found) < MOST_FRAMES:
        frame = getattr(waiter, "cr_frame", None) or getattr(waiter, "gi_frame", None)
        frame = frame or getattr(waiter, "ag_frame", None)
        if frame is not None:
            found.append(call(frame))
        waiter = (
            getattr(waiter, "cr_await", None)
            or getattr(waiter, "gi_yieldfrom", None)
            or getattr(waiter, "ag_await", None)
        )
    return tuple(found)


def find_greenlets(living: Iterable[Any]) -> Iterator[Found]:
    """Finds where greenlets wait, from any thread; the one that runs is its thread's."""
    for number, one in enumerate(list(living)):
        frame = one.gr_frame
        if frame is not None:
            yield "greenlet", f"greenlet-{number}", calls(frame)
