"""One connection, from when a worker took it until its handler and its socket are done with."""

from __future__ import annotations

import socket
import time
from typing import Any, Protocol


class Host(Protocol):
    """Who counts visits."""

    def named(self, visit: Visit) -> bool:
        """A proxy named the client: whether it may stay. Called in any thread."""

    def over(self, visit: Visit) -> None:
        """A visit has ended. Called once for each, in any thread."""


class Visit:
    """A client's stay.

    Args:
        conn: Its connection, as it was accepted.
        address: Its peer's address.

    Attributes:
        conn: Its connection now: a mode may make another object of it.
        address: The client's address; another one once a proxy has named the client.
        began: When, by the monotonic clock.
        over: Whether it has ended.
        host: Who counts it; None: nobody does.
        counted: The address that it counts for, if it does.
    """

    __slots__ = ("address", "began", "conn", "counted", "host", "over")

    def __init__(self, conn: socket.socket, address: Any) -> None:
        self.conn = conn
        self.address = address
        self.began = time.monotonic()
        self.over = False
        self.counted: Any = None
        self.host: Host | None = None

    def end(self) -> None:
        """Tells that it is over."""
        self.over = True
        if self.host is not None:
            self.host.over(self)

    def name(self, client: Any) -> bool:
        """Tells the client's address, which a proxy named; False: it may not stay."""
        self.address = client
        return self.host is None or self.host.named(self)
