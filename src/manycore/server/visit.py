"""One connection, from when a worker took it until its handler and its socket are done with."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any


class Visit:
    """A client's stay.

    Args:
        conn: Its connection, as it was accepted.
        address: Its peer's address.
        when_over: Called once, by whichever thread ends it.

    Attributes:
        conn: Its connection now: a mode may make another object of it.
        address: The client's address; another one once a proxy has named the client.
        began: When, by the monotonic clock.
        over: Whether it has ended.
    """

    __slots__ = ("_when_over", "address", "began", "conn", "over")

    def __init__(
        self,
        conn: socket.socket,
        address: Any,
        when_over: Callable[[Visit], None] | None = None,
    ) -> None:
        self.conn = conn
        self.address = address
        self.began = time.monotonic()
        self.over = False
        self._when_over = when_over

    def end(self) -> None:
        """Tells that it is over."""
        self.over = True
        if self._when_over is not None:
            self._when_over(self)
