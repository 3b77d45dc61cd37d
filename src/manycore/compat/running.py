"""The program's side: a server object is served, in this process or in processes of its own."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from manycore.base import signals
from manycore.errors import ManycoreError, TargetError
from manycore.server.server import Server, serve

from .handling import Handling, tell_supervisor

if TYPE_CHECKING:
    from .socketserver import TCPServer


class Run:
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
        """Serves until it is stopped."""
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
        settings = owner._settings()  # noqa: SLF001  # it is of this package
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
        """Ends `serve`: from another thread it returns when all has ended."""
        if os.getpid() != self._process:  # a worker's handler
            tell_supervisor()
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
