"""Lock and RLock, for threads of any process.

A lock's record says which process holds it. When that is killed, the kernel wakes who waits, and
the first to look takes the lock over; `lost_holder` then tells it from whom, until it releases:
what the lock protects may be half changed.

Who comes while a lock is free may have it, though others wait: so a lock that is taken and given
back often costs microseconds. But who has waited longest, and for longer than `PATIENCE`, is not
passed over: the lock is kept for it when it is given back. A thread that ends without releasing
keeps its lock as long as its process lives, as with the standard library's.
"""

from __future__ import annotations

import struct
import threading
from typing import Any, ClassVar, Final

import lmdb

from manycore.base import life

from .acquirable import REASON, Acquirable, seconds
from .bells import ring_next
from .gates import Blocked, wait
from .proxy import META
from .writing import Writing

PATIENCE: Final = 0.05  # seconds that a waiter is passed over: a turn of its own costs 0.1 ms
_FREE: Final = b"-"  # and behind it the name of who waited longest, if it is kept for that one
_OWNER = struct.Struct(">QQ")  # thread, and how often it acquired


class _Exclusive(Acquirable):
    """What is held by one at a time."""

    __slots__ = ()

    @classmethod
    def fill(cls, writing: Writing, number: bytes, *begin: Any) -> None:
        """Writes a lock that is free."""
        del begin
        writing.txn.put(number + META, _FREE)

    def locked(self) -> bool:
        """Whether a process that lives holds it."""
        holder = self._read_meta()
        return not holder.startswith(_FREE) and life.is_alive(holder)

    def _repr(self) -> str:
        state = "locked" if self.locked() else "free"
        return f"<{type(self).__name__} {self._label()!r} {state}>"

    def _is_free_for(self, holder: bytes, me: str, dead: frozenset[bytes]) -> bool | Blocked:
        """Whether a record lets somebody have the lock; else what that one waits for."""
        if not holder.startswith(_FREE):
            process = holder[: life.SIZE]
            return process in dead or Blocked(REASON, (process,), in_line=True)
        name = holder[len(_FREE) :].decode()
        kept_for = life.parse_name(name) if name not in {"", me} else None
        if kept_for is None or kept_for in dead:
            return True
        return Blocked(REASON, (kept_for,), in_line=True)

    def _free(self, txn: Any) -> None:
        """Lets who waits have it."""
        woken = ring_next(self, txn, REASON, PATIENCE)
        txn.put(self._meta, _FREE if woken is None else _FREE + woken.encode())

    def _given_up(self, txn: Any, me: str) -> None:
        """Somebody does not wait any more, for whom it may have been kept."""
        if txn.get(self._meta) == _FREE + me.encode():
            self._free(txn)


class Lock(_Exclusive):
    """A lock that threads of any process take in turn.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     lock = manager.Lock()
        ...     with lock:
        ...         lock.acquire(timeout=0), lock.locked()
        ...     lock.locked()
        (False, True)
        False
    """

    __slots__ = ()
    kind: ClassVar[str] = "Lock"

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002, D102
        writing, meta = self._store.writing, self._meta
        me = life.mine()
        try:  # the short way: it is free
            with writing.lock, writing.begin() as txn:
                if txn.get(meta) == _FREE and writing.has_room():
                    txn.put(meta, me)
                    self._lost = None
                    return True
        except lmdb.Error:
            pass  # see below
        limit = seconds(timeout, blocking=blocking)
        return wait(self, self._attempt, limit, self._given_up) is True

    def release(self) -> None:
        """Gives it back; any thread of any process may.

        Raises:
            RuntimeError: It is free.
        """
        writing, meta = self._store.writing, self._meta
        try:  # the short way
            with writing.lock, writing.begin() as txn:
                holder = txn.get(meta)
                if holder is not None and not holder.startswith(_FREE) and writing.has_room():
                    self._free(txn)
                    self._lost = None
                    return
        except lmdb.Error:
            pass  # see below
        with writing.lock, writing as txn, txn:
            self.release_all(txn, "release unlocked lock")
        self._lost = None

    def _attempt(self, txn: Any, dead: frozenset[bytes], me: str) -> bool | Blocked:
        holder = self._meta_in(txn)
        free = self._is_free_for(holder, me, dead)
        if free is True:
            txn.put(self._meta, life.mine())
            self._lost = None
            if not holder.startswith(_FREE):
                self.took_over(holder)
        return free

    def release_all(self, txn: Any, problem: str = "cannot wait on un-acquired lock") -> int:
        """Gives it back within a transaction, for a condition that waits."""
        if self._meta_in(txn).startswith(_FREE):
            raise RuntimeError(problem)
        self._free(txn)
        return 1

    def acquire_again(self, times: int) -> None:
        """Takes it as often as `release_all` gave it back."""
        del times
        self.acquire()

    def is_mine(self, txn: Any) -> bool:
        """Whether this process holds it."""
        held: bool = txn.get(self._meta) == life.mine()
        return held


class RLock(_Exclusive):
    """A lock that its thread may take again, and gives back as often.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     lock = manager.RLock()
        ...     with lock, lock:
        ...         print("twice")
        twice
    """

    __slots__ = ()
    kind: ClassVar[str] = "RLock"

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002, D102
        limit = seconds(timeout, blocking=blocking)
        return wait(self, self._attempt, limit, self._given_up) is True

    def release(self) -> None:
        """Gives it back once.

        Raises:
            RuntimeError: This thread does not hold it.
        """
        with self._store.writing.lock, self._store.writing as txn, txn:
            times = self._times(txn)
            if not times:
                raise RuntimeError("cannot release un-acquired lock")
            self._set(txn, times - 1)
        self._lost = None if times == 1 else self._lost

    def release_all(self, txn: Any) -> int:
        """Gives it back altogether within a transaction, for a condition that waits."""
        times = self._times(txn)
        if not times:
            raise RuntimeError("cannot wait on un-acquired lock")
        self._set(txn, 0)
        return times

    def acquire_again(self, times: int) -> None:
        """Takes it as often as `release_all` gave it back."""
        for _ in range(times):
            self.acquire()

    def is_mine(self, txn: Any) -> bool:
        """Whether this thread holds it."""
        return self._times(txn) > 0

    def _attempt(self, txn: Any, dead: frozenset[bytes], me: str) -> bool | Blocked:
        holder = self._meta_in(txn)
        times = self._times(txn)
        free = times > 0 or self._is_free_for(holder, me, dead)
        if free is True:
            self._set(txn, times + 1)
        if free is True and not times:
            self._lost = None
            if not holder.startswith(_FREE):
                self.took_over(holder[: life.SIZE])
        return free

    def _times(self, txn: Any) -> int:
        holder = self._meta_in(txn)
        if not holder.startswith(life.mine()):
            return 0
        thread, times = _OWNER.unpack_from(holder, life.SIZE)
        return times if thread == threading.get_ident() else 0

    def _set(self, txn: Any, times: int) -> None:
        if times:
            owner = life.mine() + _OWNER.pack(threading.get_ident(), times)
            txn.put(self._meta, owner)
        else:
            self._free(txn)
