"""A fresh interpreter: how a process without this one's threads, modules and locks begins.

Guarantee: starting one, and seeing its end, waits for nobody else. `subprocess` waits for a pipe to
close that a copy of this program, forked by another thread at that moment, holds open as long as it
lives. `posix_spawn` needs no such pipe, and an end is seen by a pidfd.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Final

from .channel import Channel, Message
from .child import UNSEEN
from .conditions import poll

_SOURCE = os.path.abspath(f"{__file__}/../../..")  # where the package is found
LAST_WORDS: Final = 1.0  # seconds: what it forked before it ended needs microseconds to report
_STDIN, _STDOUT, _STDERR = 0, 1, 2


def command(module: str, *arguments: int) -> list[str]:
    """Gives the command that runs `main(*arguments)` of a module in a fresh interpreter.

    The interpreter has our flags (-X, -W, -O, …), and finds this very package.
    """
    call = ", ".join(map(str, arguments))
    code = f"import sys; sys.path.insert(0, {_SOURCE!r}); from {module} import main; main({call})"
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
    return [sys.executable, *flags, "-c", code]


class Interpreter:
    """A fresh interpreter that runs `main(fd, *arguments)` of a module, as who started it sees it.

    Args:
        module: The module; a file of its name in the working directory is not taken for it.
        fd: A descriptor to hand on, under the same number; nothing else is.
        *arguments: What else `main` is called with.
        silent: Whether what it prints is thrown away.

    Attributes:
        pid: Its process id.
        exitcode: How it ended, as far as that was looked at.

    Raises:
        OSError: When there is no room for a process.
    """

    def __init__(self, module: str, fd: int, *arguments: int, silent: bool = False) -> None:
        line = command(module, fd, *arguments)
        line.insert(1, "-P")
        actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_OPEN, _STDIN, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, fd, fd),  # glibc from 2.29 on: it stays open across the exec
        ]
        if silent:
            actions.append((os.POSIX_SPAWN_OPEN, _STDOUT, os.devnull, os.O_WRONLY, 0))
        actions += [(os.POSIX_SPAWN_CLOSE, other) for other in _inheritable() if other != fd]
        self.exitcode: int | None = None
        self._lock = threading.Lock()
        self.pid = os.posix_spawn(sys.executable, line, os.environ, file_actions=actions)
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise
        # kept as long as somebody may wait for it, which several threads may
        self._close = weakref.finalize(self, os.close, self._pidfd)
        self._close.atexit = False

    def first_message(self, channel: Channel) -> Message:
        """Waits for a message, or for the end of the interpreter, whichever is first.

        Its end need not close the channel: a copy of this program that another thread forked may
        hold the other end too.

        Raises:
            EOFError: When it ended without a word.
        """
        poller = select.poll()
        poller.register(channel, select.POLLIN)
        poller.register(self._pidfd, select.POLLIN)
        if all(fd == self._pidfd for fd, _ in poll(poller)):
            poller.unregister(self._pidfd)  # a child of its may be about to say something
            if not poll(poller, LAST_WORDS):
                channel.refuse()
        return channel.receive()

    def wait(self, timeout: float | None = None) -> int | None:
        """Waits for its end; gives the exit code, or None after `timeout` seconds."""
        if self.exitcode is None:
            poller = select.poll()
            poller.register(self._pidfd, select.POLLIN)
            if not poll(poller, timeout):
                return None
            with self._lock:
                if self.exitcode is None:
                    self.exitcode = self._reap()
        return self.exitcode

    def _reap(self) -> int:
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:  # the program waited for all its children itself
            return UNSEEN

    def kill(self) -> None:
        """Kills it, and waits for its end."""
        if self.exitcode is None:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)  # type: ignore[attr-defined,unused-ignore]
            self.wait()

    def forget(self) -> None:
        """To be called in a forked copy of the program, whose child it is not."""
        self.exitcode = UNSEEN
        self._close()


def _inheritable() -> Iterator[int]:
    """Gives the descriptors, but for the standard streams, that a program we run would get."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            if fd > _STDERR and os.get_inheritable(fd):
                yield fd
        except OSError:  # the listing's own
            continue
