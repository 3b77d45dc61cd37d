"""Whose turn it is to write: how a process waits for the others before it asks LMDB.

LMDB lets one transaction write at a time, by a mutex in the memory that all processes map. Who
finds it taken sleeps in the kernel, and from then on every process that gives it back has to wake a
sleeper: two processes that write all the time spend 20 to 50 us at each change, in which nobody
writes. So who sees that somebody writes looks again for some microseconds, as long as most
transactions take, and then sleeps by the clock, each time longer: the others meanwhile write at
full speed, and wake nobody.

Guarantees: nothing depends on what is seen here, LMDB's mutex alone decides. It is asked after
`LONGEST` seconds at the latest, whatever is seen, and then the kernel wakes who waits.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from threading import get_native_id
from time import sleep
from typing import Any, Final

_LOOKS: Final = 100  # some 5 us: a transaction of one operation takes 2 to 4
_FIRST_NAP: Final = 0.0005  # seconds: hundreds of transactions of somebody else
_NAPS: Final = 3  # each twice as long as the one before
LONGEST: Final = _FIRST_NAP * (2**_NAPS - 1)  # seconds before LMDB is asked anyway

# The first word of a mutex of glibc is the thread that has it (`__lock` of pthread_mutex_t); LMDB
# keeps the writers' one behind the 64 bytes of the readers' (mti_wmutex of MDB_txninfo).
_WRITER: Final = 16  # in words of 4 bytes
_THREAD: Final = 0x3FFF_FFFF  # the word's other two bits: somebody sleeps; the owner has died
_SEEN: Final = (_WRITER + 1) * 4  # bytes
_NOBODY: Final = (0,) * (_WRITER + 1)
_UNKNOWN: Final = (1,) * (_WRITER + 1)

Begin = Callable[..., Any]


class Turns:
    """Sees who writes, in the file of LMDB's locks."""

    def __init__(self) -> None:
        self._fd = -1
        self._map: mmap.mmap | None = None
        self._words = memoryview(b"")

    def start(self, path: str, begin: Begin) -> Callable[[], Any]:
        """Gives a function that begins to write, with the `begin` of an open environment."""
        with suppress(OSError, ValueError):  # there is no such file: LMDB alone will do
            # the kernel drops LMDB's own locks of a file when any descriptor of it is closed in
            # this process (man 2 fcntl): so these stay open until the environment is closed
            self._fd = os.open(os.path.join(path, "lock.mdb"), os.O_RDONLY | os.O_CLOEXEC)
            self._map = mmap.mmap(self._fd, _SEEN, prot=mmap.PROT_READ)
            self._words = memoryview(self._map).cast("I")
        return in_turn(begin, self._words)

    def stop(self) -> None:
        """Lets go of the file; the environment is closed already."""
        if self._map is not None:
            self._words.release()
            self._map.close()
            self._map = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def in_turn(begin: Begin, seen: memoryview) -> Callable[[], Any]:
    """Makes a function that begins to write, and waits before while it sees somebody write."""
    words: Any = _UNKNOWN

    def begin_in_turn() -> Any:
        if words[_WRITER]:
            wait()
        return begin(None, None, True)

    def wait() -> None:
        nonlocal words
        if words is _UNKNOWN:
            words = seen if _tells_who_writes(begin, seen) else _NOBODY
        for _ in range(_LOOKS):
            if not words[_WRITER]:
                return
        nap = _FIRST_NAP
        for _ in range(_NAPS):
            sleep(nap)
            if not words[_WRITER]:
                return
            nap *= 2

    return begin_in_turn


def _tells_who_writes(begin: Begin, seen: memoryview) -> bool:
    """Whether the word is what it is taken for: with another LMDB, or C library, it may not be."""
    txn = begin(None, None, True)
    try:
        return len(seen) > _WRITER and seen[_WRITER] & _THREAD == get_native_id()
    finally:
        txn.abort()
