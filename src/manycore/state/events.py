"""Event, Condition and Barrier, for threads of any process."""

from __future__ import annotations

import pickle
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import BrokenBarrierError
from typing import Any, ClassVar, Final

from . import identity
from .acquirable import seconds
from .encoding import dumps, loads
from .gates import EVERYBODY, Blocked, Sleeper, refuse_in_transaction, ring, wait
from .locks import Lock, RLock
from .proxy import META, Facts, Proxy
from .writing import Writing

_REASON: Final = b"e"
_EVENT = struct.Struct(">?Q")  # whether it is set, and how often it was


class Event(Proxy):
    """A flag that threads of any process wait for.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     ready = manager.Event()
        ...     ready.wait(timeout=0.01)
        ...     ready.set()
        ...     ready.wait()
        False
        True
    """

    __slots__ = ()
    kind: ClassVar[str] = "Event"

    @classmethod
    def fill(cls, writing: Writing, number: bytes, *begin: Any) -> None:
        """Writes a flag that is not set."""
        del begin
        writing.txn.put(number + META, _EVENT.pack(False, 0))

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._state()[0]

    isSet = is_set  # noqa: N815  # as threading has it

    def set(self) -> None:
        """Sets it, and wakes everybody who waits."""
        with self._store.writing.lock, self._store.writing as txn, txn:
            _, times = _EVENT.unpack(self._meta_in(txn))
            txn.put(self._meta, _EVENT.pack(True, times + 1))
            ring(self, txn, _REASON)

    def clear(self) -> None:
        """Clears it."""
        with self._store.writing.lock, self._store.writing as txn, txn:
            _, times = _EVENT.unpack(self._meta_in(txn))
            txn.put(self._meta, _EVENT.pack(False, times))

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is set.

        Args:
            timeout: For how many seconds at most; None: as long as it takes.

        Returns:
            Whether it was set, if only for a moment.
        """
        is_set, before = self._state()
        if is_set:
            return True

        def attempt(txn: Any, dead: frozenset[bytes], me: str) -> bool | Blocked:
            del dead, me
            now, times = _EVENT.unpack(self._meta_in(txn))
            return True if now or times != before else Blocked(_REASON)

        return wait(self, attempt, None if timeout is None else max(0.0, timeout)) is True

    def __repr__(self) -> str:
        return f"<Event {self._label()!r} {'set' if self.is_set() else 'unset'}>"

    def _state(self) -> tuple[bool, int]:
        is_set, times = _EVENT.unpack(self._read_meta())
        return is_set, times


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

    def __repr__(self) -> str:
        return f"<Condition {self._label()!r}>"


@dataclass(frozen=True, slots=True)
class Gathering:
    """A barrier's state. Pure.

    Attributes:
        turn: How often it opened, or was reset.
        here: The identity of each thread's process that waits, in the order in which they came.
        broken: Nobody can pass until it is reset.
        void: The turns that ended without being passed: by a reset.
    """

    turn: int = 0
    here: tuple[bytes, ...] = ()
    broken: bool = False
    void: frozenset[int] = frozenset()

    def arrive(self, process: bytes) -> Gathering:
        """One more waits."""
        return replace(self, here=(*self.here, process))

    def open(self) -> Gathering:
        """All are there."""
        return replace(self, turn=self.turn + 1, here=())

    def reset(self) -> Gathering:
        """A new beginning; those who wait are told that it broke."""
        void = self.void | {self.turn} if self.here else self.void
        return Gathering(self.turn + 1, (), broken=False, void=frozenset(sorted(void)[-8:]))


class Barrier(Proxy):
    """Where so many threads, of any process, wait for one another.

    When one of the processes that wait is killed, the barrier breaks for the others.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     manager.Barrier(1).wait()
        0
    """

    __slots__ = ("_action", "_parties", "_timeout")
    kind: ClassVar[str] = "Barrier"

    def _use(self, facts: Facts) -> None:
        self._parties: int = facts["parties"]
        self._action: bytes | None = facts["action"]
        self._timeout: float | None = facts["timeout"]

    def _facts(self) -> Facts:
        return {"parties": self._parties, "action": self._action, "timeout": self._timeout}

    @classmethod
    def fill(cls, writing: Writing, number: bytes, *begin: Any) -> None:
        """Writes a barrier at which nobody waits."""
        del begin
        writing.txn.put(number + META, _pack(Gathering()))

    @property
    def parties(self) -> int:
        """How many pass together."""
        return self._parties

    @property
    def n_waiting(self) -> int:
        """How many wait now."""
        return len(self._gathering().here)

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return self._gathering().broken

    def wait(self, timeout: float | None = None) -> int:
        """Waits until all have come.

        Args:
            timeout: For how many seconds at most; by default what the barrier was made with.

        Returns:
            A number from 0 to `parties - 1`, another one for each.

        Raises:
            BrokenBarrierError: The time was over for one of them, one was killed, or the barrier
                was reset or aborted.
        """
        with self._store.writing.lock, self._store.writing as txn, txn:
            now = _parse(self._meta_in(txn))
            if now.broken:
                raise BrokenBarrierError
            now = now.arrive(identity.mine())
            txn.put(self._meta, _pack(now))
            ring(self, txn, _REASON)  # who waits watches this process from now on
        place, turn = len(now.here) - 1, now.turn
        if len(now.here) == self._parties:
            self._open()
            return place
        limit = seconds(self._timeout if timeout is None else timeout)
        try:
            outcome = wait(self, lambda txn, dead, _: self._attempt(txn, dead, turn), limit)
        except BaseException:
            self.abort()
            raise
        if isinstance(outcome, Blocked):
            self.abort()
        if outcome is not True:
            raise BrokenBarrierError
        return place

    def abort(self) -> None:
        """Breaks it, for those who wait and those who come."""
        self._write(lambda now: replace(now, here=(), broken=True))

    def reset(self) -> None:
        """Makes it as new; those who wait now get a `BrokenBarrierError`."""
        self._write(Gathering.reset)

    def __repr__(self) -> str:
        now = self._gathering()
        state = "broken" if now.broken else f"{len(now.here)} of {self._parties}"
        return f"<Barrier {self._label()!r} {state}>"

    def _open(self) -> None:
        try:
            if self._action is not None:
                loads(self._action)()
        except BaseException:
            self.abort()
            raise
        self._write(Gathering.open)

    def _attempt(self, txn: Any, dead: frozenset[bytes], turn: int) -> bool | Blocked:
        now = _parse(self._meta_in(txn))
        if now.turn != turn:
            return turn not in now.void
        if dead & set(now.here):
            now = replace(now, here=(), broken=True)
            txn.put(self._meta, _pack(now))
            ring(self, txn, _REASON)
        if now.broken:
            return False
        return Blocked(_REASON, tuple(sorted({*now.here} - {identity.mine()})))

    def _write(self, change: Callable[[Gathering], Gathering]) -> None:
        with self._store.writing.lock, self._store.writing as txn, txn:
            txn.put(self._meta, _pack(change(_parse(self._meta_in(txn)))))
            ring(self, txn, _REASON)

    def _gathering(self) -> Gathering:
        return _parse(self._read_meta())


def _pack(state: Gathering) -> bytes:
    return pickle.dumps((state.turn, state.here, state.broken, state.void))


def _parse(data: bytes) -> Gathering:
    return Gathering(*pickle.loads(data))  # noqa: S301  # from a file that only we can write


def action_bytes(action: Callable[[], Any] | None) -> bytes | None:
    """Turns a barrier's action into bytes."""
    return None if action is None else dumps(action)
