"""The control socket, the supervisor's half.

Guarantees: no thread, and no wait that is not the supervisor's own; a client that sends nonsense,
sends for ever or never reads is cut off and harms nobody; only this user can connect.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol, TypeAlias

from manycore.base.addresses import UnixAddress
from manycore.base.sockets import listen

from .protocol import (
    LONGEST_LINE,
    Answer,
    ProtocolError,
    Request,
    decode_request,
    encode_answer,
)

log = logging.getLogger("manycore.watch")

BACKLOG: Final = 16
MOST_CLIENTS: Final = 64  # each costs a descriptor of the supervisor
PAUSE: Final = 0.5  # seconds without a descriptor, until there may be one
MOST_UNREAD: Final = 1 << 20  # bytes of answers that a client may leave unread

Reply: TypeAlias = Callable[[Answer], None]
"""Sends the answer, now or later; does nothing when the client has gone."""

Handle: TypeAlias = Callable[[Request, Reply], None]


class Watcher(Protocol):
    """Whoever waits on descriptors for us."""

    def watch(self, fd: int, react: Callable[[], None], *, write: bool = False) -> None:
        """Calls a function whenever a descriptor is readable, or else writable."""

    def unwatch(self, fd: int) -> None:
        """Ends that."""

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Calls a function once, after some seconds."""


class ControlSocket:
    """Takes requests and hands them on.

    Args:
        path: Where it listens.
        watcher: Who waits for us.
        handle: What requests are given to.

    Raises:
        BindError: When the path cannot be listened on.
    """

    def __init__(self, path: str, watcher: Watcher, handle: Handle) -> None:
        mask = os.umask(0o177)  # a moment with a wider mode would be enough to connect
        try:
            self._listener = listen(UnixAddress(path), BACKLOG)
        finally:
            os.umask(mask)
        self.path = path
        self._watcher = watcher
        self._handle = handle
        self._clients: set[_Client] = set()
        self._listen()

    def _listen(self) -> None:
        if self._listener.sock.fileno() >= 0:  # it may have been closed meanwhile
            self._watcher.watch(self._listener.sock.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            conn, _ = self._listener.sock.accept()
        except (BlockingIOError, ConnectionAbortedError):  # it went away
            return
        except OSError:  # there is no descriptor for it: it waits, and wakes nobody meanwhile
            self._watcher.unwatch(self._listener.sock.fileno())
            self._watcher.call_later(PAUSE, self._listen)
            return
        if len(self._clients) >= MOST_CLIENTS:
            conn.close()
            return
        conn.setblocking(False)
        self._clients.add(_Client(conn, self._watcher, self._handle, self._clients.discard))

    def close(self) -> None:
        """Ends it, and lets go of every client: that tells those who wait."""
        self._watcher.unwatch(self._listener.sock.fileno())
        for client in list(self._clients):
            client.close()
        self._listener.close()


class _Client:
    def __init__(
        self,
        conn: socket.socket,
        watcher: Watcher,
        handle: Handle,
        closed: Callable[[_Client], None],
    ) -> None:
        self._conn = conn
        self._watcher = watcher
        self._handle = handle
        self._closed = closed
        self._received = b""
        self._unsent = b""
        self._fd = conn.fileno()
        watcher.watch(self._fd, self._read)

    def _read(self) -> None:
        try:
            data = self._conn.recv(LONGEST_LINE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        *lines, self._received = (self._received + data).split(b"\n")
        if len(self._received) > LONGEST_LINE:
            self.close()
            return
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            request = decode_request(line)
        except ProtocolError as error:
            self._reply(Answer(error=str(error)))
            return
        self._handle(request, self._reply)

    def _reply(self, answer: Answer) -> None:
        if self._fd < 0:
            return
        if len(self._unsent) > MOST_UNREAD:
            self.close()
            return
        self._unsent += encode_answer(answer)
        self._send()

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[self._conn.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if self._unsent:
            self._watcher.watch(self._fd, self._send, write=True)
        else:
            self._watcher.watch(self._fd, self._read)

    def close(self) -> None:
        if self._fd < 0:
            return
        self._watcher.unwatch(self._fd)
        self._fd = -1
        with suppress(OSError):
            self._conn.close()
        self._closed(self)
