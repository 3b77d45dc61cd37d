"""A TLS connection whose methods let other greenlets run while they wait.

Guarantees: it is an `ssl.SSLSocket` and behaves like a blocking one, timeouts included. Its
descriptor never blocks; whatever OpenSSL wants, bytes or room for them, its greenlet waits for.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from .connection import await_side
from .hub import Hub, Waiter

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

T = TypeVar("T")


class GreenTLSConnection(ssl.SSLSocket):
    """One TLS connection of a hub. Made by `secure`."""

    _hub: Hub | None = None
    _patience: float | None = None
    reading: Waiter
    writing: Waiter

    def join(self, hub: Hub) -> None:
        """Lets a hub wake it from now on."""
        super().settimeout(0.0)
        self.reading = Waiter(hub)
        self.writing = Waiter(hub)
        self._hub = hub
        hub.watch(self.fileno(), self)

    def do_handshake(self, block: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Shakes hands."""
        self._cooperate(super().do_handshake)

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002
        """Reads at most so many bytes, or into a buffer; what `recv` and `recv_into` call."""
        call = super().read
        return self._cooperate(lambda: call(len, buffer))

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """Sends what there is room for, at least one byte; gives the number of bytes."""
        call = super().send
        return self._cooperate(lambda: call(data, flags))

    def write(self, data: ReadableBuffer) -> int:
        """Writes what there is room for, at least one byte; gives the number of bytes."""
        call = super().write
        return self._cooperate(lambda: call(data))

    def unwrap(self) -> socket.socket:
        """Ends TLS in both directions."""
        return self._cooperate(super().unwrap)

    def settimeout(self, value: float | None, /) -> None:
        """Sets for how many seconds an operation may wait; None: as long as it takes."""
        if self._hub is None:
            super().settimeout(value)
            return
        if value is not None and not value >= 0:
            raise ValueError("Timeout value out of range")
        self._patience = None if value is None else float(value)

    def gettimeout(self) -> float | None:
        """For how many seconds an operation may wait."""
        return self._patience

    @property
    def timeout(self) -> float | None:
        """For how many seconds an operation may wait."""
        return self._patience

    def setblocking(self, flag: bool, /) -> None:  # noqa: FBT001  # the standard library's
        """Sets whether operations wait."""
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        """Whether operations wait."""
        return self._patience != 0.0

    def detach(self) -> int:
        """Gives the descriptor away, in the state of one that blocks."""
        self._leave_hub()
        fd = super().detach()
        if self._hub is not None and fd >= 0:
            self._hub.unwatch(fd)
            os.set_blocking(fd, True)
        return fd

    def _real_close(self) -> None:
        self._leave_hub()
        super()._real_close()  # type: ignore[misc]  # where close() and its files meet

    def _leave_hub(self) -> None:
        fd, hub = self.fileno(), self._hub
        if fd < 0 or hub is None:
            return
        hub.forget(fd, self)
        for side in (self.reading, self.writing):
            if side.waiting is not None:
                hub.call(side.wake)

    def _cooperate(self, call: Callable[[], T]) -> T:
        hub, patience = self._hub, self._patience
        deadline = None if patience is None else time.monotonic() + patience
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                side = self.reading
                if patience == 0.0 or hub is None:
                    raise
            except ssl.SSLWantWriteError:
                side = self.writing
                if patience == 0.0 or hub is None:
                    raise
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            await_side(self, hub, side, left)


def secure(
    hub: Hub, conn: socket.socket, context: ssl.SSLContext, deadline: float
) -> GreenTLSConnection:
    """Makes a TLS connection of one of a hub's; the handshake is still to come.

    Args:
        hub: Who wakes it.
        conn: The connection; its descriptor moves.
        context: By which certificate.
        deadline: Until when its first operations may wait.
    """
    plain = socket.socket(conn.family, conn.type, conn.proto, conn.detach())
    context.sslsocket_class = GreenTLSConnection
    secured = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
    assert isinstance(secured, GreenTLSConnection)
    secured.join(hub)
    secured.settimeout(max(0.0, deadline - time.monotonic()))
    return secured
