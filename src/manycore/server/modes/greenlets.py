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

from .mode import handle
from .onethread import OneThreadMode

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


class GreenletMode(OneThreadMode):
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
        self._hub = Hub(slow)
        thread = threading.Thread(target=self._hub.run, name="greenlets", daemon=True)
        super().__init__(thread, limit, row, freed)
        self._handler = handler
        self._entrance = None if entrance.is_open else entrance
        self._visits: set[Visit] = set()

    def visits(self) -> list[Visit]:
        """Lists the connections that are being served."""
        return list(self._visits)

    def drain(self) -> None:
        """Lets every handler go on."""

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        self._hub.call(function, *arguments)

    def _hand_over(self, visit: Visit) -> None:
        self._call(self._hub.spawn, self._serve, visit)

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

    def _disconnect(self, visit: Visit) -> None:
        """Shuts a connection down, so that a handler that waits for it returns."""
        if not visit.over:
            with suppress(OSError):  # its handler was faster
                socket.socket.shutdown(visit.conn, socket.SHUT_RDWR)  # of TLS too

    def _end(self) -> None:
        for visit in self._visits:
            self._disconnect(visit)

    def _stop(self) -> None:
        """Ends what still runs, at its next wait."""
        self._hub.stop()
