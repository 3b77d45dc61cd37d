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
import socket
import socketserver
from collections.abc import Mapping
from socketserver import BaseRequestHandler, DatagramRequestHandler, StreamRequestHandler
from typing import Any, ClassVar, Final

from manycore.errors import TargetError

from .running import Run

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
        self._run = Run()
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

    def _keeps_requests(self) -> bool:
        """Whether what it makes or keeps of a request may outlive the call that gives it one."""
        kind = type(self)
        return kind.process_request not in _OURS or kind.get_request not in _OURS

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


_OURS: Final = (
    BaseServer.process_request,
    ThreadingMixIn.process_request,
    ForkingMixIn.process_request,
    socketserver.TCPServer.get_request,
)


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
