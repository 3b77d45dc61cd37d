"""Signals as a queue.

Guarantees: handlers only enqueue; every handler and mask is as before when the block is left, and
in a process that is forked inside it; no signal that arrives inside the block is lost, whichever
instruction it interrupts; none that a forked process gets is the parent's.

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

    def __init__(self) -> None:
        self._reader, self._writer = descriptors.pipe()
        self._handlers: dict[signal.Signals, Any] = {}  # as they were
        self._wakeup: int | None = None  # as it was; None: as it is
        self._reactions: dict[int, Callable[[], None]] = {}

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._reader

    @property
    def writer(self) -> int:
        """The end that the kernel's handler writes to."""
        return self._writer

    @property
    def signums(self) -> tuple[signal.Signals, ...]:
        """What is captured."""
        return tuple(self._handlers)

    def capture(self, *signums: signal.Signals) -> None:
        """Makes entries of these signals too; those that were blocked are let in."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signums)  # a handler may raise here
        for signum in signums:
            self._handlers.setdefault(signum, signal.signal(signum, ignore))
        wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        if self._wakeup is None:
            self._wakeup = wakeup
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signums)

    def take(self) -> list[signal.Signals]:
        """Gives the signals that came since the last call, in order, and never blocks."""
        try:
            numbers = os.read(self._reader, 4096)
        except BlockingIOError:
            return []
        found = [signal.Signals(number) for number in numbers if number in self._handlers]
        for signum in found:
            if signum in self._reactions:
                self._reactions[signum]()
        return found

    def react(self, signum: signal.Signals, function: Callable[[], None]) -> None:
        """Calls a function, from now on, in whoever takes this signal and before it has it."""
        self._reactions[signum] = function

    def use_defaults(self) -> None:
        """In a forked child: these signals act as in a new program, not as they did before."""
        signal.set_wakeup_fd(-1)
        for signum in self._handlers:
            signal.signal(signum, signal.SIG_DFL)

    def close(self) -> None:
        """Leaves all as it was; the signals must be blocked meanwhile. Twice is once."""
        if self._writer < 0:
            return
        if self._wakeup is not None:
            signal.set_wakeup_fd(self._wakeup)
        for signum, handler in self._handlers.items():
            # None: it was not set from Python, and Python cannot put it back
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        os.close(self._reader)
        os.close(self._writer)
        self._reader = self._writer = -1


_inboxes: list[Inbox] = []  # the innermost is the last


@contextmanager
def captured(*signums: signal.Signals) -> Iterator[Inbox]:
    """Turns signals into entries of an inbox while the block runs. Main thread only.

    Signals of this set that the caller had blocked are let in meanwhile. More can be captured by
    the inbox, of none at first.
    """
    inbox = Inbox()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    _inboxes.append(inbox)
    try:
        if signums:
            inbox.capture(*signums)
        yield inbox
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, inbox.signums)
        inbox.close()
        _inboxes.remove(inbox)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Forking(threading.local):
    """The forking thread's mask, while the child's signals wait for the child's handlers."""

    mask: set[signal.Signals | int] | None = None


_forking = _Forking()


def _before_fork() -> None:
    if _inboxes:
        signums = {signum for inbox in list(_inboxes) for signum in inbox.signums}
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, signums)


def _after_fork_in_parent() -> None:
    if _forking.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)
        _forking.mask = None


def _after_fork_in_child() -> None:
    for inbox in reversed(_inboxes):
        inbox.close()
    _after_fork_in_parent()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)


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
