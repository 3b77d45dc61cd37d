"""A condition, for threads of any process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar, Final

from .bells import EVERYBODY, ring
from .gates import Blocked, Sleeper, refuse_in_transaction
from .locks import Lock, RLock
from .proxy import META, Facts, Proxy
from .writing import Writing

_REASON: Final = b"e"


class Condition(Proxy):
    """A lock, and a line of threads, of any process, that wait to be notified under it.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     turn = manager.Condition()
        ...     with turn:
        ...         turn.notify_all()
        ...         turn.wait(timeout=0.01)
        False
    """

    __slots__ = ("_lock",)
    kind: ClassVar[str] = "Condition"

    def _use(self, facts: Facts) -> None:
        self._lock: Lock | RLock = facts["lock"]

    def _facts(self) -> Facts:
        return {"lock": self._lock}

    @classmethod
    def fill(cls, writing: Writing, number: bytes, *begin: Any) -> None:
        """Writes a condition for which nobody waits."""
        del begin
        writing.txn.put(number + META, b"")

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002
        """Takes the lock, as its own `acquire` does."""
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        """Gives the lock back."""
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Gives the lock back, waits to be notified, and takes the lock again.

        Args:
            timeout: For how many seconds to wait for a notification at most.

        Returns:
            Whether it was notified.

        Raises:
            RuntimeError: The lock is not held.
        """
        refuse_in_transaction(self)
        writing = self._store.writing
        with Sleeper(self, timeout) as sleeper:
            with writing.lock, writing as txn, txn:
                self._meta_in(txn)
                times = self._lock.release_all(txn)
                sleeper.register(txn, Blocked(_REASON))
            try:
                sleeper.sleep()
            finally:
                with writing.lock, writing as txn, txn:
                    notified = sleeper.leave(txn)
                self._lock.acquire_again(times)
        self._read_meta()
        return notified

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Waits until a function, called under the lock, gives something true; gives that."""
        deadline = None if timeout is None else time.monotonic() + timeout
        result = predicate()
        while not result:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Wakes `n` of the threads that wait, the longest first; the dead do not count.

        Raises:
            RuntimeError: The lock is not held.
        """
        with self._store.writing.lock, self._store.writing as txn, txn:
            if not self._lock.is_mine(txn):
                raise RuntimeError("cannot notify on un-acquired lock")
            ring(self, txn, _REASON, n)

    def notify_all(self) -> None:
        """Wakes every thread that waits."""
        self.notify(EVERYBODY)

    def _repr(self) -> str:
        return f"<Condition {self._label()!r}>"
