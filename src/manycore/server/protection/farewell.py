"""What a client that is refused is told.

Guarantee: nobody waits for it, and there are never more than `MOST` such connections at a time.

A socket that is closed while bytes of the client wait in it takes the message back (RFC 1122,
4.2.2.13), so one that was sent a message stays open for a moment, in which the client can read.
"""

from __future__ import annotations

import socket
from collections import deque
from contextlib import suppress
from typing import Final

MOST: Final = 64  # connections at a time
LINGER: Final = 1.0  # seconds: a round trip, also of a slow line
_SWALLOW: Final = 65_536  # bytes of what the client has said meanwhile


class Farewells:
    """The refused ones that may still be reading.

    Args:
        message: What they are told; nothing: they are disconnected at once.
    """

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._leaving: deque[tuple[float, socket.socket]] = deque()

    def refuse(self, conn: socket.socket, now: float | None) -> None:
        """Tells a client, and takes its connection over.

        Args:
            conn: The connection.
            now: The time; None: it cannot stay open for a moment.
        """
        if not self._message:
            conn.close()
            return
        with suppress(OSError):  # it is gone already, or has no room: then it hears nothing
            conn.setblocking(False)
            conn.send(self._message)
            conn.shutdown(socket.SHUT_WR)
        if now is None:
            _close(conn)
            return
        self._leaving.append((now + LINGER, conn))
        if len(self._leaving) > MOST:
            _close(self._leaving.popleft()[1])

    def deadline(self) -> float | None:
        """When the next one has to be closed."""
        return self._leaving[0][0] if self._leaving else None

    def close_due(self, now: float) -> None:
        """Closes those whose time is up."""
        while self._leaving and self._leaving[0][0] <= now:
            _close(self._leaving.popleft()[1])


def _close(conn: socket.socket) -> None:
    with suppress(OSError):
        conn.recv(_SWALLOW)
    conn.close()
