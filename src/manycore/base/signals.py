"""Signals as a queue.

Guarantees: handlers only enqueue; every handler and mask is as before when the block is left; no
signal that arrives inside the block is lost, whichever instruction it interrupts.

The kernel's handler writes the signal's number into a pipe (`signal.set_wakeup_fd`), and whoever
owns the inbox reads the pipe beside its other descriptors.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from . import descriptors


def ignore(signum: int, frame: object) -> None:
    """A handler that does nothing; unlike SIG_IGN it is not inherited by programs that are run."""


class Inbox:
    """Where captured signals wait. Its descriptor is readable when there are some."""

    def __init__(self, signums: Iterable[signal.Signals]) -> None:
        self._signums = frozenset(signums)
        self._reader, self._writer = descriptors.pipe()
        self._reactions: dict[int, Callable[[], None]] = {}

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._reader

    def take(self) -> list[signal.Signals]:
        """Gives the signals that came since the last call, in order, and never blocks."""
        try:
            numbers = os.read(self._reader, 4096)
        except BlockingIOError:
            return []
        found = [signal.Signals(number) for number in numbers if number in self._signums]
        for signum in found:
            if signum in self._reactions:
                self._reactions[signum]()
        return found

    def react(self, signum: signal.Signals, function: Callable[[], None]) -> None:
        """Calls a function, from now on, in whoever takes this signal and before it has it."""
        self._reactions[signum] = function

    def forget(self) -> None:
        """To be called in a forked child: the pipe is the parent's, and so were the signals."""
        signal.set_wakeup_fd(-1)
        for signum in self._signums:
            signal.signal(signum, signal.SIG_DFL)
        self.close()

    def close(self) -> None:
        """Closes the pipe."""
        os.close(self._reader)
        os.close(self._writer)

    @property
    def writer(self) -> int:
        """The end that the kernel's handler writes to."""
        return self._writer


@contextmanager
def captured(*signums: signal.Signals) -> Iterator[Inbox]:
    """Turns signals into entries of an inbox while the block runs. Main thread only.

    Signals of this set that the caller had blocked are let in meanwhile.
    """
    inbox = Inbox(signums)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    handlers: dict[signal.Signals, Any] = {}
    wakeup = None
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, signums)  # a handler may raise here
        for signum in set(signums):
            handlers[signum] = signal.signal(signum, ignore)
        wakeup = signal.set_wakeup_fd(inbox.writer, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signums)
        yield inbox
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, signums)
        if wakeup is not None:
            signal.set_wakeup_fd(wakeup)
        for signum, handler in handlers.items():
            # None: it was not set from Python, and Python cannot put it back
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        inbox.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class CtrlCLater:
    """Keeps a Ctrl-C waiting while a block runs that must not end half way. Not while others fork.

    A mask does not do that where there are other threads: the system gives the signal to one of
    those, and Python calls the handler here all the same. So its handler is exchanged meanwhile.

    Example:
        >>> try:
        ...     with CtrlCLater():
        ...         signal.raise_signal(signal.SIGINT)
        ...         print("goes on")
        ... except KeyboardInterrupt:
        ...     print("ends here")
        goes on
        ends here
    """

    def __init__(self) -> None:
        self._handler: Callable[[int, FrameType | None], object] | None = None
        self._came: list[tuple[int, FrameType | None]] = []

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():  # no other runs handlers
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):
                self._handler = handler
                signal.signal(signal.SIGINT, self._note)

    def __exit__(self, *exc_info: object) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            if self._came:
                self._handler(*self._came[0])

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._came.append((signum, frame))


#: while a module is imported, where it is used: a Ctrl-C that comes while a callback of Python's
#: import system runs would be lost, since what a callback raises is printed and forgotten
importing = CtrlCLater


@contextmanager
def blocked(signums: Iterable[signal.Signals]) -> Iterator[set[signal.Signals | int]]:
    """Keeps signals waiting while the block runs; gives the mask that is in force after it."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, signums)  # a handler may raise here
        yield mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
