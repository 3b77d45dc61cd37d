"""The standard library's locks and semaphores, without names.

`multiprocessing` makes its semaphores with names, so that a process which is not forked from ours
can find them, and keeps a process running that removes the names when others forgot to. Here a
semaphore lives in a nameless file, which is handed on by its descriptor and freed by the kernel.

Everything else (who waits, recursion, conditions, queues) is the standard library's code.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from multiprocessing import context, reduction, synchronize, util
from typing import Any, Final

from manycore.base.finalizers import when_gone
from manycore.base.segments import anonymous_file

_SIZE: Final = mmap.PAGESIZE  # bytes; a sem_t has 32, and nothing smaller can be mapped
_SHARED: Final = 1  # man 3 sem_init: among processes

# The standard library's own building blocks; their names are not in its type stubs.
_std: Any = synchronize
_SEMAPHORE, _RECURSIVE_MUTEX = _std.SEMAPHORE, _std.RECURSIVE_MUTEX

_libc = ctypes.CDLL(None, use_errno=True)


class _Nameless:
    """Takes the place of `multiprocessing.synchronize.SemLock`'s making and sending."""

    _semlock: Any
    _make_methods: Callable[[], None]

    def __init__(self, kind: int, value: int, maxvalue: int) -> None:
        fd = anonymous_file("semaphore", bytes(_SIZE))
        self._adopt(fd, kind, maxvalue, first_value=value)

    def _adopt(self, fd: int, kind: int, maxvalue: int, first_value: int | None = None) -> None:
        self._fd = fd
        self._memory = mmap.mmap(fd, _SIZE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        if first_value is not None and _libc.sem_init(
            ctypes.c_void_p(address), _SHARED, ctypes.c_uint(first_value)
        ):
            number = ctypes.get_errno()
            os.close(fd)
            raise OSError(number, os.strerror(number))
        # without a name it takes the address for what it is
        self._semlock = _std._multiprocessing.SemLock._rebuild(  # noqa: SLF001
            address, kind, maxvalue, None
        )
        self._is_fork_ctx = False
        self._make_methods()
        util.register_after_fork(self, _forget_holder)
        when_gone(self, os.close, fd)

    def __getstate__(self) -> tuple[Any, int, int]:
        context.assert_spawning(self)
        return reduction.DupFd(self._fd), self._semlock.kind, self._semlock.maxvalue

    def __setstate__(self, state: tuple[Any, int, int]) -> None:
        fd, kind, maxvalue = state
        self._adopt(fd.detach(), kind, maxvalue)


def _forget_holder(lock: _Nameless) -> None:
    lock._semlock._after_fork()  # noqa: SLF001


class Lock(_Nameless, synchronize.Lock):
    """`multiprocessing.Lock`."""

    def __init__(self) -> None:
        super().__init__(_SEMAPHORE, 1, 1)


class RLock(_Nameless, synchronize.RLock):
    """`multiprocessing.RLock`."""

    def __init__(self) -> None:
        super().__init__(_RECURSIVE_MUTEX, 1, 1)


class Semaphore(_Nameless, synchronize.Semaphore):
    """`multiprocessing.Semaphore`."""

    def __init__(self, value: int = 1) -> None:
        super().__init__(_SEMAPHORE, value, _std.SEM_VALUE_MAX)


class BoundedSemaphore(_Nameless, synchronize.BoundedSemaphore):
    """`multiprocessing.BoundedSemaphore`."""

    def __init__(self, value: int = 1) -> None:
        super().__init__(_SEMAPHORE, value, value)
