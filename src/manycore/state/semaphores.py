"""Semaphores, for threads of any process.

Permits of a dead process are free again. As many of those who wait are woken as there are permits
to have, the longest first; who comes while one is free may have it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from manycore.base import life

from .acquirable import REASON, Acquirable, seconds
from .bells import ring_in_line
from .gates import Blocked, wait
from .permits import Permits
from .proxy import META
from .writing import Writing


class Semaphore(Acquirable):
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
            txn.put(self._meta, permits.release(life.mine(), n).pack())
            ring_in_line(self, txn, REASON, n)
        self._lost = None

    def get_value(self) -> int:
        """Gives how many permits are free."""
        return Permits.parse(self._read_meta()).free

    def _repr(self) -> str:
        return f"<{type(self).__name__} {self._label()!r} {self.get_value()} free>"

    def _attempt(self, txn: Any, dead: frozenset[bytes], me: str) -> bool | Blocked:
        del me
        before = Permits.parse(self._meta_in(txn))
        permits = before.without(dead)
        after = permits.acquire(life.mine())
        if after is None:
            watched = tuple(process for process, _ in permits.held)
            return Blocked(REASON, watched, in_line=True)
        txn.put(self._meta, after.pack())
        if after.free:  # who waits next may have another
            ring_in_line(self, txn, REASON)
        self._lost = None
        if permits is not before:
            self.took_over(next(process for process, _ in before.held if process in dead))
        return True


class BoundedSemaphore(Semaphore):
    """A semaphore that never has more permits than it began with."""

    __slots__ = ()
    kind: ClassVar[str] = "BoundedSemaphore"
