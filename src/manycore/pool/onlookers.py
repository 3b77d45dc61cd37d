"""Who looks at several futures at once: `concurrent.futures.wait` and `as_completed`.

Those two take the Condition of each future, one after the other, look at all states, leave a waiter
with each, and give the Conditions back. All of that is steps of Python: Ctrl-C between two of them
leaves Conditions held for ever, and whoever finishes such a future would wait for ever. So what
they find on our futures only looks like a Condition.

Rules:

1. To take it is to say: while the block that I run in runs, this future is not to change. It waits
   for nobody, and nobody waits for it. That the block has not ended is seen by its frame, which is
   on some thread's stack; what was interrupted is on none.
2. A future that ends while somebody looks is put aside. A thread that is there for nothing else,
   and not longer than there is something put aside, ends it when nobody looks any more.
3. A future gets its last state under `LOOKING`, and so do those who look come and go. Waiters are
   told afterwards: those that were there at that moment.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import _base
from contextlib import suppress
from types import FrameType
from typing import Any, Final, Protocol

from manycore.base.conditions import Event

LOOKING: Final = threading.RLock()  # garbage may be collected under it, and that may end a pool

_PAUSE: Final = 0.001  # seconds: a block takes microseconds for each future that it looks at
_TAKING: Final = {  # what takes the Conditions, and gives them back, for the block of its caller
    _base._AcquireFutures.__enter__.__code__,  # noqa: SLF001
    _base._AcquireFutures.__exit__.__code__,  # noqa: SLF001
}


class Watched(Protocol):
    """A future, as it is seen here.

    Attributes:
        onlookers: Who looks at it; None: nobody ever did.
    """

    onlookers: Onlookers | None

    def end_now(self, state: str) -> bool:
        """Gives it its last state, under `LOOKING`; False when it has one."""

    def wake(self) -> None:
        """Wakes who waits for its result."""

    def tell(self, waiters: Sequence[Any]) -> None:
        """Tells these that it is over, and wakes who waits, and calls back."""


class Waiters(list[Any]):
    """Who waits for several futures, of which this one is one."""

    def append(self, waiter: Any) -> None:
        """Adds one, before it begins to wait."""
        if not isinstance(waiter.event, Event):  # Ctrl-C would leave its lock held, and us waiting
            waiter.event = Event()
        super().append(waiter)

    def remove(self, waiter: Any) -> None:
        """Removes one; whoever was interrupted when it came may not be there."""
        with suppress(ValueError):
            super().remove(waiter)


class Onlookers:
    """Who looks at one future.

    Attributes:
        blocks: What runs and looks.
        waiters: Who wants to be told.
    """

    __slots__ = ("blocks", "waiters")

    def __init__(self) -> None:
        self.blocks: list[FrameType] = []
        self.waiters = Waiters()


class Glance:
    """What looks like a future's Condition.

    Args:
        future: Whose.
        onlookers: Of that.
    """

    __slots__ = ("_future", "_onlookers")

    def __init__(self, future: Watched, onlookers: Onlookers) -> None:
        self._future = future
        self._onlookers = onlookers

    def acquire(self) -> bool:
        """Keeps the future as it is while the caller's block runs."""
        block = _block_of(sys._getframe(1))  # noqa: SLF001  # the way to one's caller
        with LOOKING:
            self._onlookers.blocks.append(block)
        return True

    def release(self) -> None:
        """The block is over."""
        block = _block_of(sys._getframe(1))  # noqa: SLF001
        with LOOKING, suppress(ValueError):
            self._onlookers.blocks.remove(block)

    def __enter__(self) -> bool:
        block = sys._getframe(1)  # noqa: SLF001
        with LOOKING:
            self._onlookers.blocks.append(block)
        return True

    def __exit__(self, *_: object) -> None:
        block = sys._getframe(1)  # noqa: SLF001
        with LOOKING, suppress(ValueError):
            self._onlookers.blocks.remove(block)

    def notify_all(self) -> None:
        """Wakes who waits for the future's result."""
        self._future.wake()


def _block_of(frame: FrameType) -> FrameType:
    """Gives the frame whose block it is: that of `wait`, when it is `wait` that takes all."""
    caller = frame.f_back
    return caller if frame.f_code in _TAKING and caller is not None else frame


_aside: dict[Watched, str] = {}  # and what their last state will be
_thread: threading.Thread | None = None


def end(future: Watched, state: str) -> None:
    """Gives a future its last state, and tells everybody: now, or when nobody looks any more."""
    with LOOKING:
        onlookers = future.onlookers
        if onlookers is not None and onlookers.blocks and _see_to_it():
            _aside.setdefault(future, state)
            return
        waiters = _end_now(future, state)
    if waiters is not None:
        future.tell(waiters)


def _end_now(future: Watched, state: str) -> list[Any] | None:
    """Ends one, under `LOOKING`; gives who wants to be told. None: it had ended."""
    if not future.end_now(state):
        return None
    return [] if future.onlookers is None else list(future.onlookers.waiters)


def _see_to_it() -> bool:
    """Has a thread end what will be put aside; False when there is none to be had."""
    global _thread  # noqa: PLW0603  # one for all
    if _thread is None or not _thread.is_alive():
        thread = threading.Thread(target=_end_all, name="manycore-onlookers", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the program ends
            return False
        _thread = thread
    return True


def _end_all() -> None:
    """The thread: until there is nothing put aside."""
    global _thread  # noqa: PLW0603
    pause = _PAUSE
    while True:
        time.sleep(pause)
        began = time.monotonic()
        with LOOKING:
            futures = list(_aside)
            if not futures:
                _thread = None
                return
        gone = _find_gone(futures)
        for future in futures:
            _try_to_end(future, gone)
        del futures, gone
        pause = max(_PAUSE, time.monotonic() - began)


def _try_to_end(future: Watched, gone: set[FrameType]) -> None:
    """Ends one, unless somebody looks at it."""
    onlookers = future.onlookers
    assert onlookers is not None
    with LOOKING:
        onlookers.blocks = [block for block in onlookers.blocks if block not in gone]
        if onlookers.blocks:
            return
        waiters = _end_now(future, _aside.pop(future))
    if waiters is not None:
        future.tell(waiters)


def _find_gone(futures: Sequence[Watched]) -> set[FrameType]:
    """Gives the blocks that were interrupted."""
    looking: set[FrameType] = set()
    for future in futures:
        assert future.onlookers is not None
        looking.update(future.onlookers.blocks)
    # what comes from now on is not among them
    tops = list(sys._current_frames().values()) if looking else []  # noqa: SLF001  # the only way
    while tops:
        frame: FrameType | None = tops.pop()
        while frame is not None:
            looking.discard(frame)
            frame = frame.f_back
    return looking


def _forget_all() -> None:
    """In a forked copy of the program: whoever had the lock at that moment is not there."""
    global _thread  # noqa: PLW0603
    LOOKING._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001  # threading's own way
    _aside.clear()
    _thread = None


os.register_at_fork(after_in_child=_forget_all)
