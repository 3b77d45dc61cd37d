"""A worker's side: a connection is handled as the program's server object wants it."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
import weakref
from socketserver import BaseServer
from typing import TYPE_CHECKING, Any, NoReturn

from manycore.server.handlers import describe

if TYPE_CHECKING:
    from .socketserver import TCPServer


class Handling:
    """Handles a connection as the server object wants it; called in a worker's thread.

    Args:
        owner: The server object, or in a fresh process its copy.
    """

    def __init__(self, owner: TCPServer) -> None:
        self._owner = owner
        kind = type(owner)
        self._keeps = owner._keeps_requests()  # noqa: SLF001  # it is of this package
        self._listener = getattr(owner, "socket", None)
        self.__qualname__ = kind.__qualname__
        self.__module__ = kind.__module__

    def __getstate__(self) -> dict[str, Any]:
        if isinstance(self._listener, ssl.SSLSocket):
            problem = "its TLS context cannot be copied to another process"
            raise TypeError(problem)
        return vars(self) | {"_listener": None}

    def __call__(self, conn: socket.socket, address: Any) -> None:
        """Handles one connection."""
        owner = self._owner
        if not isinstance(getattr(owner, "socket", None), _AtHand):
            owner.socket = _AtHand(self._listener)  # type: ignore[assignment]
            owner._run = _InWorker()  # type: ignore[assignment]  # noqa: SLF001
        at_hand: Any = owner.socket
        closed = None
        if self._keeps or isinstance(self._listener, ssl.SSLSocket):
            conn = kept = _Kept(conn)
            closed = kept.closed
            weakref.finalize(kept, closed.set)
            del kept
        at_hand.put(conn, address)
        try:
            request, client = owner.get_request()
        except OSError:  # as in the standard library: there was no connection after all
            return
        finally:
            at_hand.forget()
        del conn
        self._process(request, client)
        del request
        if closed is not None:
            closed.wait()  # `process_request` may have handed it to a thread of the program's

    def _process(self, request: Any, client: Any) -> None:
        owner = self._owner
        if not owner.verify_request(request, client):
            owner.shutdown_request(request)
            return
        try:
            owner.process_request(request, client)
        except Exception:
            if type(owner).handle_error is BaseServer.handle_error:
                raise  # the worker's log tells it, and counts it
            owner.handle_error(request, client)
            owner.shutdown_request(request)
        except BaseException:
            owner.shutdown_request(request)
            raise


class _Kept(socket.socket):
    """A copy of a connection's socket that says when it was closed.

    Attributes:
        closed: Set when it was closed, or given away and that one closed.
    """

    def __init__(self, conn: socket.socket) -> None:
        super().__init__(conn.family, conn.type, conn.proto, os.dup(conn.fileno()))
        self.settimeout(conn.gettimeout())
        self.closed = threading.Event()

    def close(self) -> None:
        """Closes it."""
        super().close()
        self.closed.set()


class _AtHand(threading.local):
    """What a worker has as the server's `socket`: it accepts the thread's own connection."""

    def __init__(self, listener: Any) -> None:
        self._listener = listener
        self._pair: tuple[socket.socket, Any] | None = None

    def put(self, conn: socket.socket, address: Any) -> None:
        self._pair = conn, address

    def forget(self) -> None:
        self._pair = None

    def accept(self) -> tuple[socket.socket, Any]:
        """Gives the connection at hand, under TLS if the listener was wrapped so."""
        assert self._pair is not None
        conn, address = self._pair
        listener = self._listener
        if isinstance(listener, ssl.SSLSocket):
            conn = listener.context.wrap_socket(conn, server_side=True)
        return conn, address

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)


class _InWorker:
    """In a worker a server is stopped through its supervisor, and cannot be started again."""

    def serve(self, owner: TCPServer) -> NoReturn:
        raise RuntimeError(f"{describe(owner)} is serving already")

    def stop(self) -> None:
        tell_supervisor()


def tell_supervisor() -> None:
    """Asks whoever supervises this worker for a graceful stop."""
    os.kill(os.getppid(), signal.SIGTERM)
