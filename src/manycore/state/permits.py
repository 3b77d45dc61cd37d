"""Who holds how many of a semaphore's permits. Pure.

Guarantee: permits are neither lost nor made up: those that are free, and those that processes hold,
are together what was begun with, plus what was released beyond that. What a dead process held is
free again.

A process may release what another one acquired, as with the standard library's: it is then taken
off the account of whoever has held longest.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Final

_COUNT = struct.Struct(">q")
_PROCESS: Final = 16  # bytes of a process's identity

Process = bytes


@dataclass(frozen=True, slots=True)
class Permits:
    """A semaphore's state.

    Attributes:
        free: How many can be acquired.
        bound: The most that may be free, or None.
        held: For each process that holds some: which, and how many; the longest first.

    Example:
        >>> permits = Permits(free=1, bound=1).acquire(b"p" * 16)
        >>> permits.acquire(b"q" * 16) is None
        True
        >>> permits.without({b"p" * 16}).acquire(b"q" * 16).free
        0
    """

    free: int
    bound: int | None = None
    held: tuple[tuple[Process, int], ...] = ()

    def acquire(self, process: Process) -> Permits | None:
        """Gives the state once a process has one more; None if there is none to have."""
        if self.free <= 0:
            return None
        accounts = dict(self.held)
        accounts[process] = accounts.get(process, 0) + 1
        return replace(self, free=self.free - 1, held=tuple(accounts.items()))

    def release(self, process: Process, count: int = 1) -> Permits:
        """Gives the state once a process has given some back.

        Raises:
            ValueError: More would be free than the bound allows.
        """
        if self.bound is not None and self.free + count > self.bound:
            raise ValueError("Semaphore released too many times")
        accounts = dict(self.held)
        for _ in range(count):
            owner = process if process in accounts else next(iter(accounts), None)
            if owner is not None:
                accounts[owner] -= 1
                if not accounts[owner]:
                    del accounts[owner]
        return replace(self, free=self.free + count, held=tuple(accounts.items()))

    def without(self, dead: set[Process] | frozenset[Process]) -> Permits:
        """Gives the state once what dead processes held is free again."""
        freed = sum(count for process, count in self.held if process in dead)
        if not freed:
            return self
        alive = tuple(account for account in self.held if account[0] not in dead)
        return replace(self, free=self.free + freed, held=alive)

    def pack(self) -> bytes:
        """Writes it."""
        accounts = b"".join(process + _COUNT.pack(count) for process, count in self.held)
        bound = -1 if self.bound is None else self.bound
        return _COUNT.pack(self.free) + _COUNT.pack(bound) + accounts

    @classmethod
    def parse(cls, data: bytes) -> Permits:
        """Reads what `pack` wrote."""
        (free,), (bound,) = _COUNT.unpack_from(data), _COUNT.unpack_from(data, 8)
        step = _PROCESS + 8
        held = tuple(
            (data[at : at + _PROCESS], _COUNT.unpack_from(data, at + _PROCESS)[0])
            for at in range(16, len(data), step)
        )
        return cls(free, None if bound < 0 else bound, held)
