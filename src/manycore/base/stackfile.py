"""How a process shows another one where its threads are, even when it is stuck.

Guarantees: to ask stops nobody and blocks nobody; the answer goes into memory that both share, so
that nobody has to read it in time.

There are two signals. ASK wants an answer of the process itself, by `answer`: it knows the names of
threads, tasks and greenlets, and finds all of them standing still. FORCE is for one that does not
answer, since some C code holds the interpreter's lock: faulthandler answers in its place, from
inside the signal's handler. It looks at threads without a lock, so it must not be used while they
run: those of a process that does not answer do not.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import signal
from typing import Final

from . import stacks
from .segments import anonymous_file
from .signals import ignore
from .stacks import Stack

# the real-time signals mean nothing to anybody else; where there are none, these are the next best
ASK: Final[signal.Signals] = getattr(signal, "SIGRTMIN", signal.SIGURG)
FORCE: Final[signal.Signals] = getattr(signal, "SIGRTMAX", signal.SIGXCPU)

_mine = -1  # where this process answers


class StackFile:
    """One process's answers, as who asks has them."""

    def __init__(self) -> None:
        self.fd = anonymous_file("stacks")
        flags = fcntl.fcntl(self.fd, fcntl.F_GETFL)
        fcntl.fcntl(self.fd, fcntl.F_SETFL, flags | os.O_APPEND)  # of both: none overwrites any

    def clear(self) -> None:
        """Forgets earlier answers."""
        os.truncate(self.fd, 0)

    @property
    def size(self) -> int:
        """How many bytes were answered."""
        return os.fstat(self.fd).st_size

    def read(self) -> list[Stack]:
        """Gives what was answered so far."""
        return stacks.decode(os.pread(self.fd, self.size, 0))

    def close(self) -> None:
        """Lets go of it."""
        os.close(self.fd)


def arm(fd: int) -> None:
    """Says where this process answers; from now on FORCE is answered, and ASK harms nobody.

    Main thread only. Whoever has something that reads an inbox lets ASK in there, and then calls
    `answer`.
    """
    global _mine  # noqa: PLW0603  # it is the process's
    _mine = fd
    faulthandler.register(FORCE, file=fd, all_threads=True, chain=False)
    signal.signal(ASK, ignore)


def answer() -> None:
    """Answers ASK."""
    if _mine >= 0:
        os.write(_mine, stacks.encode(stacks.collect()))
