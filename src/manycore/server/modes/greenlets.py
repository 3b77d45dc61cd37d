"""Blocking handlers by the thousand, each in a greenlet. One thread for all of them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from manycore.errors import MissingExtra
from manycore.server.entrance import Entrance
from manycore.server.handlers import Handler
from manycore.server.visit import Visit

from .mode import Ledger, handle

if TYPE_CHECKING:
    import ssl

try:
    from greenlet import GreenletExit

    from .connection import GreenConnection
    from .hub import Hub
except ModuleNotFoundError as error:
    if error.name != "greenlet":
        raise
    raise MissingExtra("mode greenlets", "greenlet", "server") from None


class GreenletMode:
    """Serves by greenlets.

    Args:
        handler: What each connection is given to.
        limit: How many may be served at a time.
        slow: Seconds after which the log says who keeps all others waiting; 0: never.
        entrance: What each connection passes first.
        row: The worker's row on the board.
        freed: Called, from any thread, when what `wake_below` asked for has come.
    """

    def __init__(
        self,
        handler: Handler,
        limit: int,
        slow: float,
        entrance: Entrance,
        row: memoryview,
        freed: Callable[[], None],
    ) -> None:
        self._handler = handler
        self._ledger = Ledger(limit, row, freed)
        self._entrance = None if entrance.is_open else entrance
        self._visits: set[Visit] = set()
        self._hub = Hub(slow)
        self._thread = threading.Thread(target=self._hub.run, name="greenlets", daemon=True)

    @property
    def open(self) -> int:
        """How many connections are being served."""
        return self._ledger.open

    @property
    def full(self) -> bool:
        """Whether no more may be served at a time."""
        return self._ledger.full

    @property
    def limit(self) -> int:
        """How many may be served at a time."""
        return self._ledger.limit

    def start(self) -> None:
        """Starts the hub."""
        self._thread.start()

    def reserve(self) -> bool | None:
        """Says whether one more may be served."""
        return None if self.full else True

    def release(self, place: bool) -> None:  # noqa: FBT001  # it stands for a place
        """Nothing was reserved but a number."""

    def serve(self, place: bool, visit: Visit) -> None:  # noqa: ARG002, FBT001
        """Hands a connection to the hub."""
        self._ledger.accepted()
        self._hub.call(self._hub.spawn, self._serve, visit)

    def disconnect(self, visit: Visit) -> None:
        """Shuts a connection down, so that a handler that waits for it returns."""
        self._hub.call(_shut_down, visit)

    @property
    def is_threaded(self) -> bool:
        """One thread serves all connections."""
        return False

    def threads(self) -> dict[int, int | None]:
        """Gives that thread."""
        return {self._thread.native_id or 0: None}

    def visits(self) -> list[Visit]:
        """Lists the connections that are being served."""
        return list(self._visits)

    def wake_below(self, open_connections: int) -> None:
        """Asks for one call of `freed`, once fewer connections than this are open."""
        self._ledger.wake_below(open_connections)

    def drain(self) -> None:
        """Lets every handler go on."""

    def end_connections(self) -> int:
        """Shuts every open connection down, so that handlers that wait for it return."""
        count = self.open
        self._hub.call(self._end)
        return count

    def close(self, timeout: float) -> None:
        """Ends what still runs, at its next wait."""
        self._hub.stop()
        self._thread.join(timeout)

    # From here on: the hub's thread.

    def _serve(self, visit: Visit) -> None:
        """One connection's greenlet, from its start to its end."""
        try:
            visit.conn = GreenConnection(self._hub, visit.conn)
            self._visits.add(visit)
            if self._entrance is None or self._pass(self._entrance, visit):
                handle(self._run, visit.conn, visit.address, self._ledger.failed)
        finally:
            self._visits.discard(visit)
            self._ledger.finished()
            visit.end()

    def _pass(self, entrance: Entrance, visit: Visit) -> bool:
        """Lets a connection in; False: it was turned away, or the worker ends."""
        with suppress(GreenletExit):
            return entrance.pass_blocking(visit, self._secure)
        return False

    def _secure(
        self, conn: socket.socket, context: ssl.SSLContext, deadline: float
    ) -> socket.socket:
        from .secure import secure

        return secure(self._hub, conn, context, deadline)

    def _run(self, connection: socket.socket, address: Any) -> None:
        with suppress(GreenletExit):  # the worker ends
            self._handler(connection, address)

    def _end(self) -> None:
        for visit in self._visits:
            _shut_down(visit)


def _shut_down(visit: Visit) -> None:
    if not visit.over:
        with suppress(OSError):  # its handler was faster
            socket.socket.shutdown(visit.conn, socket.SHUT_RDWR)  # of TLS too
