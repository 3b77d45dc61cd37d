"""Whether a new connection may come in at all. Asked by the acceptor, before anybody serves it."""

from __future__ import annotations

import logging
import socket
import time
from typing import Any, Final

from manycore.base.board import Board
from manycore.server.statistics import Column, open_connections
from manycore.settings import ServeSettings

from .addresses import AddressCounts
from .farewell import Farewells
from .shares import share

log = logging.getLogger("manycore.server")

#: what a web client understands, unless another message is set
BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n"
    b"Retry-After: 1\r\n\r\n"
)


class Gate:
    """The bounds on connections, as one worker keeps them.

    Args:
        settings: The bounds, and what to do beyond them.
        board: What every worker has open.
        index: The worker's row.
        counts: What every address has; None: no address is bounded.
    """

    def __init__(
        self, settings: ServeSettings, board: Board, index: int, counts: AddressCounts | None
    ) -> None:
        self._limit = settings.max_connections
        self._waits = settings.overflow == "wait"
        self._proxied = settings.proxy_protocol  # then the address is the proxy's
        self._board = board
        self._row = board.row(index)
        self._sums = board.row(0)
        self.counts = counts
        self.farewells = Farewells(farewell_of(settings))

    @property
    def most(self) -> int | None:
        """How many connections the worker may have; beyond that clients wait. None: any number."""
        if not self._limit or not self._waits:
            return None
        workers = max(1, self._sums[Column.NUMBER])
        return share(self._limit, workers, self._row[Column.NUMBER])

    @property
    def refuses(self) -> bool:
        """Whether a client that there is no room for is refused, and not left waiting."""
        return not self._waits

    def turn_away(self, conn: socket.socket, address: Any) -> bool:
        """Refuses a client if it must be; then its connection is no longer the caller's."""
        reason = self._reason(address)
        if not reason:
            return False
        self.refuse(conn, address, reason)
        return True

    def refuse(
        self, conn: socket.socket, address: Any, reason: str, *, linger: bool = True
    ) -> None:
        """Refuses a client; without lingering, its descriptor is free at once."""
        from manycore.server.modes.mode import peer

        self._row[Column.REFUSED] += 1
        log.info("client %s was refused: %s", peer(address), reason)
        self.farewells.refuse(conn, time.monotonic() if linger else None)

    def _reason(self, address: Any) -> str:
        if self._limit and not self._waits and open_connections(self._board) >= self._limit:
            return "the server has all the connections that it may have"
        if self.counts is not None and not self._proxied and self.counts.is_full(address):
            return "its address has all the connections that it may have"
        return ""


def farewell_of(settings: ServeSettings) -> bytes:
    r"""Gives what a refused client is told.

    Example:
        >>> farewell_of(ServeSettings(overflow_message="421 too busy"))
        b'421 too busy\r\n'
    """
    if settings.certificate:  # it would have to shake hands first
        return b""
    if settings.overflow_message:
        return settings.overflow_message.encode() + b"\r\n"
    return BUSY if settings.asgi or settings.wsgi else b""
