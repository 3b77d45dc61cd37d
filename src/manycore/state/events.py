"""An event, for threads of any process."""

from __future__ import annotations

import struct
from typing import Any, ClassVar, Final

from .bells import ring
from .gates import Blocked, wait
from .proxy import META, Proxy
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

    def _repr(self) -> str:
        return f"<Event {self._label()!r} {'set' if self.is_set() else 'unset'}>"

    def _state(self) -> tuple[bool, int]:
        is_set, times = _EVENT.unpack(self._read_meta())
        return is_set, times
