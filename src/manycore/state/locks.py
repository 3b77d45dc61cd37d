"""Lock, RLock and semaphores, for threads of any process.

A lock's record says which process holds it. When that is killed, the kernel wakes who waits, and
the first to look takes the lock over; `lost_holder` then tells it from whom, until it releases:
what the lock protects may be half changed. A semaphore's permits of a dead process are free again.

There is no order among those who wait: who comes while a lock is free may have it. A thread that
ends without releasing keeps its lock as long as its process lives, as with the standard library's.
"""

from __future__ import annotations

import logging
import struct
import threading
from typing import Any, ClassVar, Final

from . import identity
from .gates import Blocked, ring, wait
from .permits import Permits
from .proxy import META, Facts, Proxy
from .writing import Writing

_FREE: Final = b"-"
_REASON: Final = b"f"  # it is free
_OWNER = struct.Struct(">QQ")  # thread, and how often it acquired
_log = logging.getLogger("manycore.state")


class _Acquirable(Proxy):
    """What every lock has."""

    __slots__ = ("_lost",)

    def _use(self, facts: Facts) -> None:
        del facts
        self._lost: int | None = None

    @property
    def lost_holder(self) -> int | None:
        """The process id of the dead holder from whom this proxy took over; None otherwise."""
        return self._lost

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002  # as threading has it
        """Takes it.

        Args:
            blocking: Whether to wait for it.
            timeout: For how many seconds at most; None or a negative number: as long as it takes.

        Returns:
            Whether it was taken.
        """
        raise NotImplementedError

    def release(self) -> None:
        """Gives it back."""
        raise NotImplementedError

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def _took_over(self, holder: bytes) -> None:
        self._lost = identity.pid_of(holder)
        _log.warning("%s: taken over from process %d, which died", self._label(), self._lost)


class Lock(_Acquirable):
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

    @classmethod
    def fill(cls, writing: Writing, number: bytes, *begin: Any) -> None:
        """Writes a lock that is free."""
        del begin
        writing.txn.put(number + META, _FREE)

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002, D102
        me = identity.mine()
        with self._store.writing.lock, self._store.writing as txn, txn:
            if txn.get(self._meta) == _FREE:
                txn.put(self._meta, me)
                self._lost = None
                return True
        return wait(self, self._attempt, seconds(timeout, blocking=blocking)) is True

    def release(self) -> None:
        """Gives it back; any thread of any process may.

        Raises:
            RuntimeError: It is free.
        """
        with self._store.writing.lock, self._store.writing as txn, txn:
            holder = txn.get(self._meta)
            if holder == _FREE or holder is None:
                self._meta_in(txn)
                raise RuntimeError("release unlocked lock")
            txn.put(self._meta, _FREE)
            ring(self, txn, _REASON)
        self._lost = None

    def locked(self) -> bool:
        """Whether a process that lives holds it."""
        holder = self._read_meta()
        return holder != _FREE and identity.is_alive(holder)

    def __repr__(self) -> str:
        return f"<Lock {self._label()!r} {'locked' if self.locked() else 'free'}>"

    def _attempt(self, txn: Any, dead: frozenset[bytes]) -> bool | Blocked:
        holder = self._meta_in(txn)
        if holder != _FREE and holder not in dead:
            return Blocked(_REASON, (holder,))
        txn.put(self._meta, identity.mine())
        self._lost = None
        if holder != _FREE:
            self._took_over(holder)
        return True

    def release_all(self, txn: Any) -> int:
        """Gives it back within a transaction, for a condition that waits."""
        if txn.get(self._meta) in {_FREE, None}:
            raise RuntimeError("cannot wait on un-acquired lock")
        txn.put(self._meta, _FREE)
        ring(self, txn, _REASON)
        return 1

    def acquire_again(self, times: int) -> None:
        """Takes it as often as `release_all` gave it back."""
        del times
        self.acquire()

    def is_mine(self, txn: Any) -> bool:
        """Whether this process holds it."""
        held: bool = txn.get(self._meta) == identity.mine()
        return held


class RLock(_Acquirable):
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

    @classmethod
    def fill(cls, writing: Writing, number: bytes, *begin: Any) -> None:
        """Writes a lock that is free."""
        del begin
        writing.txn.put(number + META, _FREE)

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002, D102
        return wait(self, self._attempt, seconds(timeout, blocking=blocking)) is True

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

    def locked(self) -> bool:
        """Whether a process that lives holds it."""
        holder = self._read_meta()
        return holder != _FREE and identity.is_alive(holder[: identity.SIZE])

    def __repr__(self) -> str:
        return f"<RLock {self._label()!r} {'locked' if self.locked() else 'free'}>"

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

    def _attempt(self, txn: Any, dead: frozenset[bytes]) -> bool | Blocked:
        holder = self._meta_in(txn)
        times = self._times(txn)
        process = holder[: identity.SIZE]
        if holder != _FREE and not times and process not in dead:
            return Blocked(_REASON, (process,))
        self._set(txn, times + 1)
        if not times:
            self._lost = None
            if holder != _FREE:
                self._took_over(process)
        return True

    def _times(self, txn: Any) -> int:
        holder = self._meta_in(txn)
        if not holder.startswith(identity.mine()):
            return 0
        thread, times = _OWNER.unpack_from(holder, identity.SIZE)
        return times if thread == threading.get_ident() else 0

    def _set(self, txn: Any, times: int) -> None:
        if times:
            owner = identity.mine() + _OWNER.pack(threading.get_ident(), times)
            txn.put(self._meta, owner)
        else:
            txn.put(self._meta, _FREE)
            ring(self, txn, _REASON)


class Semaphore(_Acquirable):
    """So many permits, which threads of any process take and give back.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     seats = manager.Semaphore(2)
        ...     [seats.acquire(blocking=False) for _ in range(3)]
        [True, True, False]
    """

    __slots__ = ()
    kind: ClassVar[str] = "Semaphore"

    @classmethod
    def fill(cls, writing: Writing, number: bytes, *begin: Any) -> None:
        """Writes permits that are all free."""
        writing.txn.put(number + META, Permits(begin[0], begin[1]).pack())

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002, D102
        return wait(self, self._attempt, seconds(timeout, blocking=blocking)) is True

    def release(self, n: int = 1) -> None:
        """Gives permits back; any process may.

        Raises:
            ValueError: A bounded semaphore would have more than it began with.
        """
        if n < 1:
            raise ValueError("n must be one or more")
        with self._store.writing.lock, self._store.writing as txn, txn:
            permits = Permits.parse(self._meta_in(txn))
            txn.put(self._meta, permits.release(identity.mine(), n).pack())
            ring(self, txn, _REASON)
        self._lost = None

    def get_value(self) -> int:
        """Gives how many permits are free."""
        return Permits.parse(self._read_meta()).free

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._label()!r} {self.get_value()} free>"

    def _attempt(self, txn: Any, dead: frozenset[bytes]) -> bool | Blocked:
        before = Permits.parse(self._meta_in(txn))
        permits = before.without(dead)
        after = permits.acquire(identity.mine())
        if after is None:
            return Blocked(_REASON, tuple(process for process, _ in permits.held))
        txn.put(self._meta, after.pack())
        self._lost = None
        if permits is not before:
            self._took_over(next(process for process, _ in before.held if process in dead))
        return True


class BoundedSemaphore(Semaphore):
    """A semaphore that never has more permits than it began with."""

    __slots__ = ()
    kind: ClassVar[str] = "BoundedSemaphore"


def seconds(timeout: float | None, *, blocking: bool = True) -> float | None:
    """Reads a time-out as threading does: none or a negative one is for ever."""
    if not blocking:
        if timeout is not None and timeout >= 0:
            raise ValueError("can't specify a timeout for a non-blocking call")
        return 0.0
    return None if timeout is None or timeout < 0 else float(timeout)
