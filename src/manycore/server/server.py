"""The server as a Python program uses it: `serve` blocks, `Server` runs beside the program."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Final, Self

from manycore.base import privileges, signals, sockets
from manycore.base.addresses import BindAddress, SocketAddress, TcpAddress
from manycore.base.board import Board
from manycore.base.signals import Inbox
from manycore.base.sockets import Listener
from manycore.errors import ManycoreError, SettingsError, SupervisorLost
from manycore.settings import NO_CONTROL, ServeSettings, table
from manycore.supervise.events import BOOT_TRIES

from . import launch, statistics
from .entrance import check_entrance
from .handlers import describe
from .job import Job, Parcel
from .plan import plan, require_extras
from .statistics import ServerStatistics
from .supervisor_handle import STOP_PATIENCE, SupervisorHandle

# when a supervisor that says nothing is given up
STARTED_AFTER: Final = 30.0  # seconds: an interpreter on a machine that is very busy
BOOTS: Final = BOOT_TRIES + 1  # boot timeouts, one more than the supervisor allows

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def serve(handler: Any, bind: str | Iterable[str] = "127.0.0.1:8000", **settings: Any) -> None:
    """Serves connections on every core until told to stop.

    One worker process per CPU, threads, asyncio or greenlets in each, one listening socket,
    supervised. TERM stops it gracefully, Ctrl-C quickly, a second Ctrl-C at once.

    In the main thread of a program without other threads the workers are forked from the program
    as it is. Otherwise the handler is copied to a fresh process, as `Server` does.

    Args:
        handler: `f(conn)`, `f(conn, address)`, a `socketserver.BaseRequestHandler` subclass, a
            callable object, or the text of a target, as for the command. `conn` is a
            `socket.socket`; it is closed when the handler returns. For asyncio,
            `async def f(reader, writer)` or a subclass of `asyncio.Protocol`.
        bind: Where to listen: one address or several, as for the command's `--bind`.
        **settings: The command's settings, with underscores: `workers`, `mode`, `threads`,
            `connections`, `asgi`, `wsgi`, `backlog`,
            `graceful_timeout` and `boot_timeout` in seconds, `log_level`, `log_format`.

    Raises:
        SettingsError: When a setting cannot have its value.
        MissingExtra: When a library that the mode needs is not installed.
        BindError: When an address cannot be listened on.
        TargetError: When the handler is none.
        BootError: When workers cannot boot.

    Example:
        >>> serve("echo.py:handle", workers=0)
        Traceback (most recent call last):
        ...
        manycore.errors.SettingsError: workers: 0 is below 1; give a whole number from 1, or auto
    """
    chosen = _settings(bind, settings)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread:
        _serve_beside(Server(handler, bind=bind, **settings), None)
    elif threading.active_count() > 1:
        with signals.captured(*_FORWARDED) as inbox:
            _serve_beside(Server(handler, bind=bind, **settings), inbox)
    else:
        _serve_here(handler, chosen)


def _serve_beside(server: Server, inbox: Inbox | None) -> None:
    try:
        if server._start(inbox):  # noqa: SLF001  # it is of this file
            server.wait()
    finally:
        with suppress(ManycoreError):  # `wait` has said it
            server.stop(quick=True)


def _serve_here(handler: Any, settings: ServeSettings) -> None:
    job = (
        Job.of_text(handler, settings) if isinstance(handler, str) else _checked(handler, settings)
    )
    listeners = listen(settings)
    with statistics.create_board() as board:
        launch.prepare(settings)
        failure = launch.run(job, listeners, board)
    if failure is not None:
        raise launch.as_error(failure)


def _checked(handler: Any, settings: ServeSettings) -> Job:
    """Finds what is wrong with a handler at hand before any process starts."""
    if settings.reload:
        problem = "a handler at hand is imported once, whatever becomes of its file"
        raise SettingsError("reload", problem, "name the target: 'module:function'")
    job = Job.of_object(handler, settings)
    plan(handler, job.name, "", settings)
    return job


def _settings(bind: str | Iterable[str], settings: dict[str, Any]) -> ServeSettings:
    unknown = settings.keys() - table().keys()
    if unknown:
        remedy = f"the settings are {', '.join(table())}"
        raise SettingsError(min(unknown), "there is no such setting", remedy)
    settings = {"control_socket": NO_CONTROL} | settings
    addresses: Any = bind if isinstance(bind, str) else tuple(bind)
    chosen = ServeSettings(bind=addresses, **settings)
    require_extras(chosen)
    check_entrance(chosen)
    privileges.find(chosen.user, chosen.group)
    return chosen


def listen(settings: ServeSettings) -> list[Listener]:
    """Opens every listener of a server, or none.

    Raises:
        BindError: For the first that cannot be opened.
    """
    with ExitStack() as undo:
        listeners = []
        for address in settings.bind:
            listener = listen_at(settings, address)
            undo.callback(listener.close)
            listeners.append(listener)
        undo.pop_all()
    return listeners


def listen_at(settings: ServeSettings, address: BindAddress) -> Listener:
    """Opens one listener.

    Raises:
        BindError: When it cannot be opened.
    """
    owner = privileges.find(settings.user, settings.group).owner
    shared = settings.reuse_port
    return sockets.listen(address, settings.backlog, settings.unix_mode, owner, shared=shared)


class Server:
    """A server that runs beside the program, in processes of its own.

    The supervisor is a fresh process, so the program may have threads, live in a notebook, or have
    no `__main__` guard. The handler is copied there; what cannot be imported there goes by value.
    The server ends with the program, however that ends.

    Args:
        handler: As for `serve`.
        bind: As for `serve`. By default a free port of the loopback interface.
        **settings: As for `serve`.

    Raises:
        SettingsError: When a setting cannot have its value.

    Example:
        >>> import socket
        >>> def shout(conn):
        ...     conn.sendall(conn.recv(100).upper())
        >>> with Server(shout, workers=1, log_level="warning") as server:
        ...     with socket.create_connection(server.addresses[0]) as client:
        ...         client.sendall(b"hello")
        ...         client.recv(100)
        b'HELLO'
    """

    def __init__(
        self, handler: Any, bind: str | Iterable[str] = "127.0.0.1:0", **settings: Any
    ) -> None:
        self._handler = handler
        self._settings = _settings(bind, settings)
        self._supervisor: SupervisorHandle | None = None
        self._board: Board | None = None
        self._addresses: list[SocketAddress] = []
        self._lock = threading.Lock()  # of taking the supervisor away

    @property
    def addresses(self) -> list[Any]:
        """What clients connect to: `(host, port)`, or the path of a Unix socket; one a listener.

        As with `socket.getsockname`, the kind of socket says which.
        """
        return list(self._addresses)

    @property
    def pid(self) -> int | None:
        """The supervisor's process id; None while the server is not running."""
        return None if self._supervisor is None else self._supervisor.pid

    def start(self) -> Self:
        """Starts the server; returns when every worker is ready.

        Raises:
            BindError: When an address cannot be listened on.
            TargetError: When the handler is none, or cannot be sent to the workers.
            BootError: When workers cannot boot.
            RuntimeError: When the server is running already.
        """
        if not self._start(None):
            raise SupervisorLost(0, "was told to stop before it was ready")
        return self

    def _start(self, inbox: Inbox | None) -> bool:
        """Starts; False if a signal that was handed on stopped it before it was ready."""
        if self._supervisor is not None:
            raise RuntimeError(f"{self!r} is running already")
        job = self._job()
        with ExitStack() as undo:
            listeners = listen(self._settings)
            for listener in listeners:
                undo.callback(listener.close)
            board = statistics.create_board()
            undo.callback(board.close)
            parcel = Parcel(job, [listener.facts() for listener in listeners], board.fd)
            supervisor = SupervisorHandle(parcel, inbox)
            undo.callback(supervisor.end)
            if not supervisor.await_ready(STARTED_AFTER + BOOTS * self._settings.boot_timeout):
                return False
            self._addresses = [listener.address for listener in listeners]
            for listener in listeners:
                listener.sock.close()  # the file, if there is one, is the supervisor's now
            undo.pop_all()
        self._supervisor, self._board = supervisor, board
        return True

    def _job(self) -> Job:
        if isinstance(self._handler, str):
            return Job.of_text(self._handler, self._settings)
        plan(self._handler, describe(self._handler), "", self._settings)
        return Job.of_copy(self._handler, self._settings)

    def statistics(self) -> ServerStatistics:
        """What every worker did until now.

        Raises:
            RuntimeError: When the server is not running.
        """
        if self._board is None:
            raise RuntimeError(f"{self!r} is not running")
        return statistics.read(self._board)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the server has ended.

        Args:
            timeout: Seconds to wait at most; None: as long as it takes.

        Returns:
            Whether it has ended.

        Raises:
            SupervisorLost: When it ended without having been asked to.
            RuntimeError: When the server is not running.
        """
        supervisor = self._supervisor
        if supervisor is None:
            raise RuntimeError(f"{self!r} is not running")
        return supervisor.wait(timeout)

    def stop(self, *, quick: bool = False) -> None:
        """Stops the server; returns when all of it has ended. A second call does nothing.

        Args:
            quick: End open connections instead of letting them finish.

        Raises:
            SupervisorLost: When it had ended before, without having been asked to.
        """
        with self._lock:
            supervisor, self._supervisor = self._supervisor, None
            board, self._board = self._board, None
        if supervisor is None or board is None:
            return
        try:
            patience = self._settings.graceful_timeout + STOP_PATIENCE
            patience += self._settings.pre_stop_delay
            supervisor.stop(quick=quick, timeout=patience)
        finally:
            board.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.stop()
            return
        with suppress(ManycoreError):  # the program's own error says more
            self.stop(quick=True)

    def __repr__(self) -> str:
        name = self._handler if isinstance(self._handler, str) else describe(self._handler)
        if self._board is None:
            return f"<Server {name}, not running>"
        where = " ".join(
            str(TcpAddress(*a)) if isinstance(a, tuple) else a for a in self._addresses
        )
        now = self.statistics()
        return f"<Server {name} on {where}, {len(now.workers)} workers, {now.open} open>"
