"""Which life of a process id: an identity that is never used again, and how its end is seen.

Guarantee: a process is taken for alive only while it lives. The kernel uses process ids again; an
id with the moment at which its process started, and the boot it started in, is never used again.
"""

from __future__ import annotations

import os
import select
import struct
import zlib
from contextlib import suppress
from functools import cache
from typing import Final

_PACKED: Final = struct.Struct(">IQI")
SIZE: Final = _PACKED.size  # bytes of an identity
_STATES: Final = {  # man 5 proc_pid_stat
    b"R": "running",
    b"S": "sleeping",
    b"D": "held by the kernel",
    b"T": "stopped",
    b"t": "held by a debugger",
    b"Z": "ended",
}
_START_TIME: Final = 19  # the field's place behind the command's name, man 5 proc_pid_stat
NOBODY: Final = bytes(SIZE)

_mine: bytes | None = None


def mine() -> bytes:
    """Gives the identity of this process."""
    global _mine  # noqa: PLW0603  # asked for with every lock that is taken
    if _mine is None:
        pid = os.getpid()
        _mine = _PACKED.pack(pid, start_time(pid) or 0, boot())
    return _mine


def _forget() -> None:
    global _mine  # noqa: PLW0603
    _mine = None


os.register_at_fork(after_in_child=_forget)


def pid_of(identity: bytes) -> int:
    """Gives the process id that is part of an identity."""
    pid: int = _PACKED.unpack(identity[:SIZE])[0]
    return pid


def is_alive(identity: bytes) -> bool:
    """Whether the process still runs. One that has ended but was not reaped yet does not."""
    fd = watch(identity)
    if fd is None:
        return False
    os.close(fd)
    return True


def watch(identity: bytes) -> int | None:
    """Opens a descriptor that becomes readable when the process ends; None when it has ended.

    The caller closes it.
    """
    pid, started, booted = _PACKED.unpack(identity[:SIZE])
    if booted != boot():
        return None
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    # asked after the descriptor is open: from here on the id cannot pass to another process unseen
    if start_time(pid) == started and not select.select([fd], [], [], 0)[0]:
        return fd
    os.close(fd)
    return None


def is_stopped(identity: bytes) -> bool:
    """Whether the process is held by a signal (SIGSTOP) or a debugger, and so does nothing."""
    with suppress(OSError), open(f"/proc/{pid_of(identity)}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] in b"Tt"
    return False


def state(pid: int) -> str:
    """Says in a word what a process does, as the kernel sees it.

    Example:
        >>> state(os.getpid())
        'running'
    """
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return _STATES.get(file.read().rpartition(b")")[2].split()[0], "unknown")
    return "gone"


def start_time(pid: int) -> int | None:
    """Gives when a process started, in clock ticks since the boot; None when there is none."""
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        # the command's name stands in brackets and may hold brackets and blanks itself
        return int(file.read().rpartition(b")")[2].split()[_START_TIME])
    return None


@cache
def boot() -> int:
    """Gives a number for the running boot of this machine; 0 where the kernel does not say."""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return zlib.crc32(file.read())
    return 0


def name() -> str:
    """Writes this process's identity so that it can be part of a file's name."""
    pid, started, booted = _PACKED.unpack(mine())
    return f"{pid}-{started}-{booted:08x}"


def parse_name(text: str) -> bytes | None:
    """Reads what `name` wrote, at the start of a text; None when it is nothing like it.

    Example:
        >>> parse_name(name() + "-more") == mine()
        True
    """
    parts = text.split("-")
    try:
        return _PACKED.pack(int(parts[0]), int(parts[1]), int(parts[2], 16))
    except (IndexError, ValueError, struct.error):
        return None
