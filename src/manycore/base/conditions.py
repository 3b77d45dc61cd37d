"""Conditions and events on which Ctrl-C does what it should.

A signal's handler runs between two steps of Python code. Two things can go wrong with those of the
standard library:

* `Condition` has such steps between taking the lock and entering the block, and between leaving the
  block and giving the lock back: a KeyboardInterrupt there leaves the lock held for ever, and
  whoever notifies waits for ever. Here both are the lock's own, in C, where no handler runs.
* A signal that comes when the main thread has given up the interpreter, and does not wait yet, is
  seen only when the wait is over: perhaps never. Where others want the interpreter, and the machine
  is busy, that lasts milliseconds. Here the main thread looks up now and then.
"""

from __future__ import annotations

import select
import threading
import time
from contextlib import suppress
from operator import attrgetter
from typing import Any, Final

LOOK_UP: Final = 0.25  # seconds: Ctrl-C is felt at once, and a waiting program costs nothing


class Condition(threading.Condition):
    """A condition that is as it was after a KeyboardInterrupt.

    Example:
        >>> condition = Condition()
        >>> with condition:
        ...     condition.wait(timeout=0)
        False
    """

    # `with` looks both up, without a step of Python, before it takes the lock
    __enter__ = property(attrgetter("_lock.__enter__"))
    __exit__ = property(attrgetter("_lock.__exit__"))

    _waiters: Any  # the standard library's own: who is notified, in order
    _is_owned: Any
    _release_save: Any
    _acquire_restore: Any

    def __init__(self) -> None:
        super().__init__()  # its lock knows its owner: `wait` needs that

    def wait(self, timeout: float | None = None) -> bool:
        """Waits to be notified; False after `timeout` seconds."""
        if not self._is_owned():
            raise RuntimeError("cannot wait on un-acquired lock")
        try:
            return self._wait(timeout)
        except BaseException:
            # wherever it was interrupted, the block around it holds what it will give back
            if not self._is_owned():
                self.acquire()
            raise

    def _wait(self, timeout: float | None) -> bool:
        waiter = threading.Lock()
        waiter.acquire()
        self._waiters.append(waiter)
        notified = False
        state = self._release_save()
        try:
            notified = acquire(waiter, timeout)
        finally:
            self._acquire_restore(state)
            if not notified:
                with suppress(ValueError):
                    self._waiters.remove(waiter)
        return notified


class Event(threading.Event):
    """An event of which the same is true.

    Example:
        >>> event = Event()
        >>> event.set()
        >>> event.wait()
        True
    """

    def __init__(self) -> None:
        super().__init__()
        self._cond = Condition()


def join(thread: threading.Thread, timeout: float | None = None) -> bool:
    """Waits until a thread has ended; False after `timeout` seconds.

    Example:
        >>> thread = threading.Thread()
        >>> thread.start()
        >>> join(thread)
        True
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while thread.is_alive():
        left = LOOK_UP if deadline is None else deadline - time.monotonic()
        if left <= 0:
            return False
        thread.join(min(left, LOOK_UP))
    return True


def acquire(lock: threading.Lock, timeout: float | None = None) -> bool:
    """Takes a lock; False after `timeout` seconds.

    Example:
        >>> lock = threading.Lock()
        >>> acquire(lock), acquire(lock, timeout=0)
        (True, False)
    """
    if threading.current_thread() is not threading.main_thread():
        if timeout is None:
            return lock.acquire()
        return lock.acquire(timeout=min(max(timeout, 0.0), threading.TIMEOUT_MAX))
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = LOOK_UP if deadline is None else max(0.0, deadline - time.monotonic())
        if lock.acquire(timeout=min(left, LOOK_UP)):
            return True
        if left < LOOK_UP:
            return False


def poll(poller: select.poll, timeout: float | None = None) -> list[tuple[int, int]]:
    """Waits for descriptors; gives those that are ready, none after `timeout` seconds.

    Example:
        >>> poll(select.poll(), timeout=0)
        []
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    if threading.current_thread() is not threading.main_thread():
        return poller.poll(None if timeout is None else max(0.0, timeout) * 1000)
    while True:
        left = LOOK_UP if deadline is None else max(0.0, deadline - time.monotonic())
        ready = poller.poll(min(left, LOOK_UP) * 1000)
        if ready or left < LOOK_UP:
            return ready
