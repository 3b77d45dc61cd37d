"""What the acceptor needs of a mode, and what the modes have in common.

Rule: a worker's main thread accepts, in every mode; a mode serves, in threads of its own.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from manycore.base.addresses import format_address
from manycore.server.handlers import Handler
from manycore.server.visit import Visit

log = logging.getLogger("manycore.server")


class Mode(Protocol):
    """Serves connections. Its methods are called by the worker's main thread."""

    @property
    def open(self) -> int:
        """How many connections are being served."""

    @property
    def full(self) -> bool:
        """Whether no more may be served at a time."""

    @property
    def limit(self) -> int:
        """How many may be served at a time."""

    def start(self) -> None:
        """Gets ready to serve; called once, before the worker is.

        Raises:
            TargetError: When the target cannot be.
        """

    def reserve(self) -> Any:
        """Gives a place for a connection; None if there can be none now."""

    def release(self, place: Any) -> None:
        """Gives a reserved place back: there was no connection for it after all."""

    def serve(self, place: Any, visit: Visit) -> None:
        """Takes a connection into the place that was reserved for it; ends the visit, in time."""

    def disconnect(self, visit: Visit) -> None:
        """Ends one connection, if it is not over yet."""

    @property
    def is_threaded(self) -> bool:
        """Whether each connection has a thread of its own."""

    def threads(self) -> dict[int, int | None]:
        """Gives the native ids of the threads that serve, each with its connection's descriptor.

        None: it serves many, and waits for events of all of them.
        """

    def visits(self) -> list[Visit]:
        """Lists the connections that are being served."""

    def wake_below(self, open_connections: int) -> None:
        """Asks for one call of `freed`, once fewer connections than this are open."""

    def drain(self) -> None:
        """Told, once, that the worker takes no more connections than are queued."""

    def let_go(self, visit: Visit) -> None:
        """Ends a connection that is idle, as politely as it can."""

    def end_connections(self) -> int:
        """Ends every open connection; gives their number."""

    def close(self, timeout: float) -> None:
        """Ends what the mode started; called once, last of all.

        Args:
            timeout: Seconds until what does not end is left to end with the process.
        """


def handle(handler: Handler, conn: socket.socket, address: Any, failed: Callable[[], None]) -> None:
    """Runs a blocking handler over one connection, and closes it.

    What the handler raises ends its connection and nothing else.

    Args:
        handler: What to call.
        conn: The connection.
        address: Its peer's.
        failed: Called when the handler raised.
    """
    process = os.getpid()
    try:
        handler(conn, address)
    except BaseException as error:
        if is_the_clients_doing(error):
            went_away(address, error)
        else:
            failed()
            log.exception("the handler failed; client %s is disconnected", peer(address))
    leave_if_forked(process)
    # close() alone says nothing to the client while a process that the handler started still
    # has the socket; either fails if the handler was faster
    if hasattr(conn, "unwrap"):  # it is a TLS connection
        from manycore.server.tls import say_goodbye

        say_goodbye(conn)
    with suppress(OSError):
        conn.shutdown(socket.SHUT_WR)
    with suppress(OSError):
        conn.close()


def shut_reading(visit: Visit) -> None:
    """Lets a handler read an end of file where it waits for more; it can still send, and end."""
    with suppress(OSError):  # it ended a moment ago
        socket.socket.shutdown(visit.conn, socket.SHUT_RD)  # of TLS too, the connection's


def is_the_clients_doing(error: BaseException) -> bool:
    """Whether a client that left is why, and it is no fault of the handler.

    Example:
        >>> is_the_clients_doing(ConnectionResetError()), is_the_clients_doing(OSError())
        (True, False)
    """
    if isinstance(error, ConnectionError):
        return True
    ssl = sys.modules.get("ssl")  # who serves no TLS need not have imported it
    return ssl is not None and isinstance(
        error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
    )


def went_away(address: Any, error: BaseException) -> None:
    """Logs that a client left in the middle; called where that was caught."""
    log.info("client %s went away: %s", peer(address), error)
    log.debug("where the handler was", exc_info=error)


def leave_if_forked(process: int) -> None:
    """Ends a handler's forked child, which is no worker.

    Args:
        process: Where the handler was called.
    """
    if os.getpid() != process:
        os._exit(0)


def peer(address: Any) -> str:
    """Names a client; one on a Unix socket has no name.

    Example:
        >>> peer(("127.0.0.1", 4711))
        '127.0.0.1:4711'
    """
    if isinstance(address, tuple):
        return format_address((address[0], address[1]))
    return "on a Unix socket"
