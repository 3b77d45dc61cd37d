"""What a thread of this process waits for in the kernel, as the kernel tells it.

Guarantee: to look needs nothing of the thread, and no right that a process does not have over
itself. Where the kernel does not say, or this kind of machine is not known, nobody waits.
"""

from __future__ import annotations

import os
import platform
import re
import struct
from enum import Enum, auto
from typing import Final, NamedTuple

_SWITCHES: Final = re.compile(rb"^voluntary_ctxt_switches:\s*(\d+)", re.MULTILINE)
_FD: Final = struct.Struct("=i")  # the first member of struct pollfd

#: system calls by number: those whose first argument is the descriptor, those that wait for one of
#: several, and poll, whose first argument says where its descriptors are (man 2 syscalls)
_CALLS: Final = {
    "x86_64": ({0, 1, 19, 20, 40, 44, 45, 46, 47}, {23, 232, 270, 281, 441}, {7, 271}),
    "aarch64": ({63, 64, 65, 66, 71, 206, 207, 211, 212}, {22, 72, 441}, {73}),
}


class For(Enum):
    """What a wait is for."""

    DESCRIPTOR = auto()
    ANY = auto()  #: one of several descriptors, as an event loop waits
    OTHER = auto()  #: a lock, a time, a process


class Wait(NamedTuple):
    """A wait that has not ended.

    Attributes:
        what: What it is for.
        fd: The descriptor, of the first kind.
        number: Counts the thread's waits, so that two looks can see whether it is the same one.
    """

    what: For
    fd: int
    number: int


def wait_of(thread: int) -> Wait | None:
    """Gives what a thread waits for; None: it runs, has ended, or nobody knows.

    Args:
        thread: Its native id.
    """
    place = f"/proc/self/task/{thread}"
    try:
        with open(f"{place}/syscall", "rb") as file:
            call, *arguments = file.read().split()
        with open(f"{place}/status", "rb") as file:
            switches = _SWITCHES.search(file.read())
        known = _CALLS.get(platform.machine())
        if call == b"running" or known is None or switches is None:
            return None
        of_one, of_several, of_poll = known
        number, first = int(call), int(arguments[0], 16)
        if number in of_poll:
            number, first = min(of_one), _read_fd(first)
    except (OSError, ValueError, IndexError, struct.error):
        return None
    count = int(switches[1])
    if number in of_several:
        return Wait(For.ANY, -1, count)
    return Wait(For.DESCRIPTOR, first, count) if number in of_one else Wait(For.OTHER, -1, count)


def _read_fd(address: int) -> int:
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        found: int = _FD.unpack(os.pread(memory.fileno(), _FD.size, address))[0]
    return found
