"""A WSGI application, spoken to by cheroot's HTTP over each accepted connection.

Of cheroot's server only the parser, the answers and their rules are used: the sockets, the threads
and the waiting are ours. It reads and writes through the connection's own methods, so it serves in
threads and in greenlets.
"""

from __future__ import annotations

import logging
import socket
from typing import Any, Final

from cheroot.server import HTTPConnection
from cheroot.wsgi import Gateway_10, Server

from manycore.base.addresses import SocketAddress
from manycore.server.draining import draining
from manycore.server.handlers import Handler

log = logging.getLogger("manycore.server")

PATIENCE: Final = 5.0  # seconds without a byte, between two requests or in one
LARGEST_HEADER: Final = 65_536  # bytes of a request's head; no honest client comes near


class _Gateway(Gateway_10):
    def get_environ(self) -> Any:
        """Tells the application that it has siblings, and where it is."""
        environ: Any = super().get_environ()  # type: ignore[no-untyped-call]
        environ["wsgi.multiprocess"] = True
        if hasattr(self.req.conn.socket, "unwrap"):  # it is a TLS connection
            environ["wsgi.url_scheme"], environ["HTTPS"] = "https", "on"
        environ["SERVER_NAME"] = self.req.server.host
        return environ


class _Application(Server):
    """What cheroot's connections ask of their server. It is never started."""

    max_request_header_size = LARGEST_HEADER
    software = "manycore"
    host = "localhost"

    @property
    def can_add_keepalive_connection(self) -> bool:
        """Whether a connection stays open after an answer; each is told."""
        return not draining()

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:  # noqa: FBT001, FBT002
        """Writes to the worker's log."""
        log.log(level, "the application: %s", msg, exc_info=traceback)


def serve_wsgi(application: Any, address: SocketAddress) -> Handler:
    """Makes a handler of a WSGI application.

    Args:
        application: What is called for each request.
        address: What the first listener is reached by.
    """
    server = _Application(address, application, server_name="manycore")
    server.gateway = _Gateway
    if isinstance(address, tuple):
        server.host = address[0]

    def handle(conn: socket.socket, peer: Any) -> None:
        conn.settimeout(PATIENCE)
        speaking = HTTPConnection(server, conn)
        if isinstance(peer, tuple):
            speaking.remote_addr, speaking.remote_port = peer[:2]
        while speaking.communicate():  # type: ignore[no-untyped-call]
            pass

    return handle
