"""How many connections each client address has, over all workers.

Guarantees: one writer a row, as on the board; nothing waits for another process; what a worker had
is forgotten with it. A count is never too low. It is too high for an address that falls together
with others in both of two hashes, which takes thousands of addresses, and luck: the hashes' seed is
this server's own.

A client with IPv6 has a whole network of addresses (RFC 6177): the first 64 bits count as one.
"""

from __future__ import annotations

import threading
from ipaddress import IPv6Address
from typing import Any, Final

from manycore.base.board import Board
from manycore.server.statistics import ROWS, Column

CELLS: Final = 1024  # a hash: 8 KiB a worker each
_NETWORK: Final = -(1 << 64)  # the first 64 bits of an IPv6 address


def counted_as(address: Any) -> int | str | None:
    """Gives what an address is counted as; None: it is not, since it is no Internet address.

    Example:
        >>> counted_as(("::ffff:192.0.2.7", 1, 0, 0)) == counted_as(("192.0.2.7", 2))
        True
        >>> counted_as(("2001:db8::1", 1, 0, 0)) == counted_as(("2001:db8::2", 1, 0, 0))
        True
    """
    if not isinstance(address, tuple):
        return None
    host: str = address[0]
    if ":" not in host:
        return host
    parsed = IPv6Address(host.partition("%")[0])
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return int(parsed) & _NETWORK


def create_counts() -> Board:
    """Makes room for the counts of every worker; the kernel gives it memory as it is used."""
    return Board.create(rows=ROWS, columns=2 * CELLS)


class AddressCounts:
    """The counts, as one worker has them.

    Args:
        counts: Everybody's.
        board: The workers' board.
        index: The worker's row on both.
        limit: How many an address may have.
    """

    def __init__(self, counts: Board, board: Board, index: int, limit: int) -> None:
        self._counts = counts
        self._sums = board.row(0)
        self._mine = counts.row(index)
        self._limit = limit
        self._lock = threading.Lock()  # connections end in any thread

    def is_full(self, address: Any) -> bool:
        """Whether an address has all that it may have."""
        key = counted_as(address)
        if key is None:
            return False
        rows = [self._counts.row(index) for index in range(1, self._sums[Column.LAST] + 1)]
        return min(sum(row[cell] for row in rows) for cell in _cells(key)) >= self._limit

    def enter(self, address: Any) -> None:
        """Counts a connection."""
        self._change(address, 1)

    def leave(self, address: Any) -> None:
        """Counts it no more."""
        self._change(address, -1)

    def _change(self, address: Any, by: int) -> None:
        key = counted_as(address)
        if key is not None:
            with self._lock:
                for cell in _cells(key):
                    self._mine[cell] += by


def _cells(key: int | str) -> tuple[int, int]:
    number = hash((key, "address"))  # of a text: by a seed that no client knows
    return number % CELLS, CELLS + (number >> 20) % CELLS


def forget(counts: Board, index: int) -> None:
    """Clears the counts of a worker that is gone."""
    row = counts.row(index)
    for cell in range(len(row)):
        row[cell] = 0
