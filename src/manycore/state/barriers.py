"""A barrier, for threads of any process."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import BrokenBarrierError
from typing import Any, ClassVar, Final

from manycore.base import life

from .acquirable import seconds
from .bells import ring
from .encoding import dumps, loads
from .gates import Blocked, wait
from .proxy import META, Facts, Proxy
from .writing import Writing

_REASON: Final = b"e"


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
            now = now.arrive(life.mine())
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

    def _repr(self) -> str:
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
        return Blocked(_REASON, tuple(sorted({*now.here} - {life.mine()})))

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
