r"""The standard library's `socketserver`, on every core: change the import, and nothing else.

`serve_forever` starts a supervisor and workers, as `manycore.serve` does; a connection is handled
in a worker, with the class's own `get_request`, `verify_request`, `process_request`,
`finish_request`, `handle_error` and `shutdown_request`, whichever of them a program has overridden.

What is different, because handlers run in several processes:

* an attribute that a handler changes changes in its own worker; `workers = 1` keeps all in one;
* `serve_forever` returns when it was stopped: by `shutdown()`, by TERM, or by Ctrl-C.

Example:
    >>> import socket, threading
    >>> class Shout(StreamRequestHandler):
    ...     def handle(self):
    ...         self.wfile.write(self.rfile.readline().upper())
    >>> with ThreadingTCPServer(("127.0.0.1", 0), Shout) as server:
    ...     thread = threading.Thread(target=server.serve_forever)
    ...     thread.start()
    ...     with socket.create_connection(server.server_address) as client:
    ...         client.sendall(b"hello\n")
    ...         client.recv(100)
    ...     server.shutdown()
    ...     thread.join()
    b'HELLO\n'
"""

from __future__ import annotations

import os
import signal
import socket
import socketserver
import ssl
import threading
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from socketserver import BaseRequestHandler, DatagramRequestHandler, StreamRequestHandler
from typing import Any, ClassVar, Final, NoReturn, TypeAlias

from manycore.base import signals
from manycore.errors import ManycoreError, TargetError
from manycore.server.handlers import describe
from manycore.server.server import Server, serve

__all__ = [
    "BaseRequestHandler",
    "BaseServer",
    "DatagramRequestHandler",
    "ForkingMixIn",
    "ForkingTCPServer",
    "ForkingUDPServer",
    "ForkingUnixDatagramServer",
    "ForkingUnixStreamServer",
    "StreamRequestHandler",
    "TCPServer",
    "ThreadingMixIn",
    "ThreadingTCPServer",
    "ThreadingUDPServer",
    "ThreadingUnixDatagramServer",
    "ThreadingUnixStreamServer",
    "UDPServer",
    "UnixDatagramServer",
    "UnixStreamServer",
]

Request: TypeAlias = socket.socket
BACKLOG: Final = 1024  # connections: the standard library's 5 turns a burst of clients away

BaseServer = socketserver.BaseServer


class TCPServer(socketserver.TCPServer):
    """Serves connections, one at a time; with a mix-in, on every core.

    Attributes:
        workers: How many worker processes; "auto": one for each CPU.
        serve_settings: Further settings of `manycore.serve`, by their names.
    """

    request_queue_size = BACKLOG
    workers: int | str = 1
    _at_once: ClassVar[int] = 1  # connections that a worker serves at a time
    serve_settings: Mapping[str, Any] = {}

    def __init__(
        self,
        server_address: Any,
        RequestHandlerClass: Any,  # noqa: N803  # the standard library's name
        bind_and_activate: bool = True,  # noqa: FBT001, FBT002  # the same
    ) -> None:
        self._run = _Run()
        super().__init__(server_address, RequestHandlerClass, bind_and_activate)

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serves until it is stopped.

        In the main thread of a program without other threads the workers are forked from the
        program as it is. Otherwise the server is copied to a fresh process, with its attributes.

        Args:
            poll_interval: For the standard library's sake: nothing is polled.

        Raises:
            TargetError: When the server cannot be copied.
            BootError: When workers cannot boot.
        """
        del poll_interval
        self._run.serve(self)

    def shutdown(self) -> None:
        """Ends `serve_forever`: what is queued is served, open connections may finish.

        From another thread it returns when all has ended; from a handler at once.
        """
        self._run.stop()

    def service_actions(self) -> None:
        """Is called by no loop: there is none in this process."""

    def __getstate__(self) -> dict[str, Any]:
        # the listener and the run are this process's; the standard library's events are its own
        return {
            name: value
            for name, value in vars(self).items()
            if name not in {"socket", "_run"} and not name.startswith("_BaseServer__")
        }

    def _settings(self) -> dict[str, Any]:
        quick = getattr(self, "daemon_threads", False)
        chosen: dict[str, Any] = {"log_level": "warning", "workers": self.workers}
        chosen |= {
            "threads": self._at_once,
            "backlog": min(max(1, self.request_queue_size), 65_535),
        }
        if quick:  # handlers that nobody waits for, in the standard library
            chosen["graceful_timeout"] = 0.0
        return chosen | dict(self.serve_settings)


class ThreadingMixIn(socketserver.ThreadingMixIn):
    """Serves each connection in a thread of a worker; there is a worker for each CPU."""

    workers: int | str = "auto"
    _at_once = 1000

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serves a connection in this very thread, which is the connection's own."""
        if isinstance(self, TCPServer):
            self.process_request_thread(request, client_address)
        else:
            super().process_request(request, client_address)


class ForkingMixIn(socketserver.ForkingMixIn):
    """Serves each connection in a process of its own, forked by a worker."""

    workers: int | str = "auto"
    _at_once = socketserver.ForkingMixIn.max_children

    def process_request(self, request: Any, client_address: Any) -> None:
        """Forks, and waits for the child's end in the connection's thread."""
        if not isinstance(self, TCPServer):
            super().process_request(request, client_address)
            return
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                self.finish_request(request, client_address)
                status = 0
            except Exception:
                self.handle_error(request, client_address)
            finally:
                try:
                    self.shutdown_request(request)
                finally:
                    os._exit(status)
        os.waitpid(pid, 0)
        self.close_request(request)


class UnixStreamServer(TCPServer):
    """A `TCPServer` on a Unix socket."""

    address_family = socket.AF_UNIX


class ThreadingTCPServer(ThreadingMixIn, TCPServer):
    """Serves TCP connections in threads, on every core."""


class ForkingTCPServer(ForkingMixIn, TCPServer):
    """Serves each TCP connection in a process of its own."""


class ThreadingUnixStreamServer(ThreadingMixIn, UnixStreamServer):
    """Serves a Unix socket's connections in threads, on every core."""


class ForkingUnixStreamServer(ForkingMixIn, UnixStreamServer):
    """Serves each connection of a Unix socket in a process of its own."""


class _Refused:
    """Datagrams have no connection that a worker could be given."""

    def __init__(self, *_arguments: Any, **_more: Any) -> None:
        name = type(self).__name__
        problem = "datagrams are no connections, which is what manycore serves"
        raise TargetError(name, problem, "take it from the standard library's socketserver")


class UDPServer(_Refused, socketserver.UDPServer):
    """Is refused when it is made."""


class UnixDatagramServer(_Refused, socketserver.UnixDatagramServer):
    """Is refused when it is made."""


class ThreadingUDPServer(_Refused, socketserver.ThreadingUDPServer):
    """Is refused when it is made."""


class ForkingUDPServer(_Refused, socketserver.ForkingUDPServer):
    """Is refused when it is made."""


class ThreadingUnixDatagramServer(_Refused, socketserver.ThreadingUnixDatagramServer):
    """Is refused when it is made."""


class ForkingUnixDatagramServer(UnixDatagramServer):
    """Is refused when it is made."""


class _Run:
    """The running of one server object, in the process that made it."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._running = False
        self._stop_asked = False
        self._here = False  # it runs in this very process
        self._server: Server | None = None  # while it runs in processes of its own

    def serve(self, owner: TCPServer) -> None:
        with self._lock:
            if self._running:
                raise RuntimeError(f"{owner!r} is serving already")
            self._running = True
            self._ended.clear()
        try:
            self._serve(owner)
        finally:
            with self._lock:
                self._running = self._stop_asked = False
                self._server = None
            self._ended.set()

    def _serve(self, owner: TCPServer) -> None:
        settings = owner._settings()  # noqa: SLF001  # it is of this file
        bind = f"fd://{owner.fileno()}"
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and threading.active_count() == 1:
            self._here = True
            try:
                serve(Handling(owner), bind=bind, **settings)
            finally:
                self._here = False
            return
        server = Server(Handling(owner), bind=bind, **settings)
        with ExitStack() as cleanup:
            inbox = cleanup.enter_context(signals.captured(*_STOPS)) if in_main_thread else None
            try:
                if not server._start(inbox):  # noqa: SLF001  # signals are handed on by it
                    return
            except TargetError as error:
                remedy = "call serve_forever() in the main thread, before other threads start"
                raise TargetError(error.target, error.problem, remedy, error.details) from error
            cleanup.callback(_end, server)
            with self._lock:
                self._server = server
                stop = self._stop_asked
            if stop:
                server.stop()
            else:
                _wait(server)

    def stop(self) -> None:
        if os.getpid() != self._process:  # a worker's handler
            _tell_supervisor()
            return
        with self._lock:
            self._stop_asked = True
            running, server = self._running, self._server
        if not running:
            return
        if server is not None:
            server.stop()
        elif self._here:
            os.kill(self._process, signal.SIGTERM)
            if threading.current_thread() is threading.main_thread():
                return  # a signal handler interrupts what it would wait for
        self._ended.wait()


_STOPS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def _wait(server: Server) -> None:
    try:
        server.wait()
    except (RuntimeError, ProcessLookupError):  # another thread stopped it first
        return


def _end(server: Server) -> None:
    try:
        server.stop(quick=True)
    except ManycoreError:  # `wait` has said it
        return


def _tell_supervisor() -> None:
    os.kill(os.getppid(), signal.SIGTERM)


class Handling:
    """Handles a connection as the server object wants it; called in a worker's thread.

    Args:
        owner: The server object, or in a fresh process its copy.
    """

    def __init__(self, owner: TCPServer) -> None:
        self._owner = owner
        kind = type(owner)
        # what these make or keep may outlive the call, so it gets a descriptor of its own
        self._keeps = kind.process_request not in _OURS or kind.get_request not in _OURS
        self._listener = getattr(owner, "socket", None)
        self.__qualname__ = kind.__qualname__
        self.__module__ = kind.__module__

    def __getstate__(self) -> dict[str, Any]:
        if isinstance(self._listener, ssl.SSLSocket):
            problem = "its TLS context cannot be copied to another process"
            raise TypeError(problem)
        return vars(self) | {"_listener": None}

    def __call__(self, conn: Request, address: Any) -> None:
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


_OURS: Final = (
    BaseServer.process_request,
    ThreadingMixIn.process_request,
    ForkingMixIn.process_request,
    socketserver.TCPServer.get_request,
)


class _Kept(socket.socket):
    """A copy of a connection's socket that says when it was closed.

    Attributes:
        closed: Set when it was closed, or given away and that one closed.
    """

    def __init__(self, conn: Request) -> None:
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
        self._pair: tuple[Request, Any] | None = None

    def put(self, conn: Request, address: Any) -> None:
        self._pair = conn, address

    def forget(self) -> None:
        self._pair = None

    def accept(self) -> tuple[Request, Any]:
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
        _tell_supervisor()
