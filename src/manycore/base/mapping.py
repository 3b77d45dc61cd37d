"""Files in memory, read-only, without a descriptor for each.

`mmap.mmap` keeps a descriptor for every mapping, and who holds a thousand results would have none
left. So the system's own `mmap` is called. The mapping goes when the last view of it does.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import pickle
import weakref
from collections.abc import Callable
from functools import cache
from typing import Any, Final

_FAILED: Final = ctypes.c_void_p(-1).value

_forks = 0  # of this process: what was mapped before one of them, its copy looks at, too

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_ssize_t,
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def map_file(fd: int, size: int, released: Callable[[], object] | None = None) -> memoryview:
    """Shows the beginning of a file as bytes that cannot be written.

    Args:
        fd: The file; it may be closed afterwards.
        size: How many bytes, from 1.
        released: Called when nobody looks at it any more, in whatever thread was the last; not
            called when this process was forked meanwhile.

    Raises:
        OSError: When there is no room for another mapping.
    """
    address = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    if address == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    memory = _kind(size.bit_length()).from_address(address)
    gone = weakref.finalize(memory, _unmap, address, size, _forks, released)
    gone.atexit = False
    return pickle.PickleBuffer(memory).raw()[:size].toreadonly()


@cache
def _kind(bits: int) -> Any:
    """A ctypes type is made for each length and never goes: so for each power of two."""
    return type(f"Memory{bits}", (ctypes.c_ubyte * (1 << bits),), {})


def _unmap(address: int, size: int, forks: int, released: Callable[[], object] | None) -> None:
    _libc.munmap(address, size)
    if released is not None and forks == _forks:
        released()


def _count_fork() -> None:
    global _forks  # noqa: PLW0603  # it is a fact of the process
    _forks += 1


os.register_at_fork(before=_count_fork)
