"""What a connection passes before its handler sees it: a PROXY header, then a TLS handshake.

Guarantees: the acceptor does none of it; all of it together has one deadline; who does not pass is
disconnected with one line in the log; no byte behind the header is taken.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from manycore.settings import ServeSettings

from . import proxy
from .visit import Visit

if TYPE_CHECKING:
    import ssl

    from .lastgood import LastGood

log = logging.getLogger("manycore.server")

_LOOK: Final = 1024  # bytes that are looked at, of which only the header's are taken


class TurnedAway(Exception):  # noqa: N818  # what happened to a client
    """A client does not get in; says why."""


class Entrance:
    """The way in, of one worker.

    Args:
        settings: What has to be passed.
        last_good: The certificates that served, which stand in for bad files.
        strict: Whether they must not.

    Raises:
        SettingsError: When a certificate cannot serve.
    """

    def __init__(
        self, settings: ServeSettings, last_good: LastGood | None = None, *, strict: bool = True
    ) -> None:
        self._timeout = settings.handshake_timeout
        self._proxied = settings.proxy_protocol
        self._from = settings.proxy_from
        self._certificates = None
        if settings.certificate:
            from .tls import Certificates

            self._certificates = Certificates(settings, last_good, strict=strict)

    @property
    def is_open(self) -> bool:
        """Whether there is nothing to pass."""
        return not self._proxied and self._certificates is None

    @property
    def secure(self) -> bool:
        """Whether there is a handshake."""
        return self._certificates is not None

    @property
    def proxied(self) -> bool:
        """Whether a header names the client."""
        return self._proxied

    @property
    def timeout(self) -> float:
        """Seconds for all of it."""
        return self._timeout

    def context(self) -> ssl.SSLContext | None:
        """Gives the TLS context for a new connection."""
        return None if self._certificates is None else self._certificates.context()

    def read_header(self, conn: socket.socket, address: Any, deadline: float) -> Any:
        """Takes the header off a connection whose methods wait; gives the client's address.

        Raises:
            TurnedAway: When there is none, or it comes from a stranger.
            OSError: When the client is gone, or takes too long.
        """
        self._check_proxy(address)
        taking = _Taking()
        while True:
            conn.settimeout(left_until(deadline))
            count = taking.look(conn.recv(_LOOK, socket.MSG_PEEK))
            if taking.take(conn.recv(count)):
                return taking.address or address

    async def await_header(self, conn: socket.socket, address: Any) -> Any:
        """Does the same in an asyncio loop, with a connection that does not block."""
        self._check_proxy(address)
        taking = _Taking()
        while True:
            try:
                count = taking.look(conn.recv(_LOOK, socket.MSG_PEEK))
            except BlockingIOError:
                await _readable(conn)
                continue
            if taking.take(conn.recv(count)):
                return taking.address or address

    def _check_proxy(self, address: Any) -> None:
        if not is_trusted(address, self._from):
            raise TurnedAway("it is none of proxy_from")

    def pass_blocking(
        self,
        visit: Visit,
        secure: Callable[[socket.socket, ssl.SSLContext, float], socket.socket],
    ) -> bool:
        """Lets a connection in whose methods wait.

        Args:
            visit: The connection, closed here when it does not get in; it becomes the one that its
                handler gets, and its address the client's.
            secure: Makes a TLS connection of one, by a deadline.

        Returns:
            Whether it got in.
        """
        deadline = time.monotonic() + self._timeout
        peer = visit.address
        try:
            if self._proxied:
                admit(visit, self.read_header(visit.conn, peer, deadline))
            context = self.context()
            if context is not None:
                visit.conn = secure(visit.conn, context, deadline)
                visit.conn.settimeout(left_until(deadline))
                visit.conn.do_handshake()  # type: ignore[attr-defined]  # it is a TLS connection
            visit.conn.settimeout(None)
        except (OSError, TurnedAway, ValueError) as error:
            turn_away(peer, error)
            with suppress(OSError):
                visit.conn.close()
            return False
        return True


def check_entrance(settings: ServeSettings) -> None:
    """Reads the certificates, if there shall be some, and tries them.

    Raises:
        SettingsError: When one of them cannot serve.
    """
    Entrance(settings)


class _Taking:
    """A header that is being taken off a connection."""

    def __init__(self) -> None:
        self._taken = b""
        self._total: int | None = None
        self.address: Any = None

    def look(self, seen: bytes) -> int:
        """Gives how many of the bytes that are there may be taken."""
        if not seen:
            raise TurnedAway("it left in the middle of its PROXY header")
        try:
            self._total = proxy.length(self._taken + seen)
        except proxy.ProxyError as error:
            raise TurnedAway(f"bad PROXY header: {error}") from None
        if self._total is None:
            return len(seen)
        return min(len(seen), self._total - len(self._taken))

    def take(self, data: bytes) -> bool:
        """Takes bytes; True when they were the last."""
        self._taken += data
        if self._total is None or len(self._taken) < self._total:
            return False
        try:
            self.address = proxy.parse(self._taken)
        except proxy.ProxyError as error:
            raise TurnedAway(f"bad PROXY header: {error}") from None
        return True


def admit(visit: Visit, client: Any) -> None:
    """Takes note of the client that a proxy named.

    Raises:
        TurnedAway: When that one has all the connections that it may have.
    """
    if not visit.name(client):
        raise TurnedAway("its address has all the connections that it may have")


def is_trusted(address: Any, networks: tuple[Any, ...]) -> bool:
    """Whether a PROXY header is taken from a peer.

    Example:
        >>> from ipaddress import ip_network
        >>> is_trusted(("10.1.2.3", 99), (ip_network("10.0.0.0/8"), "unix"))
        True
    """
    from ipaddress import IPv6Address, ip_address

    if not isinstance(address, tuple):
        return "unix" in networks
    host = ip_address(address[0].partition("%")[0])
    if isinstance(host, IPv6Address) and host.ipv4_mapped is not None:
        host = host.ipv4_mapped
    return any(network != "unix" and host in network for network in networks)


def left_until(deadline: float) -> float:
    """Gives the seconds until a deadline.

    Raises:
        TimeoutError: When there are none.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def turn_away(address: Any, error: BaseException) -> None:
    """Logs that a client did not get in."""
    from .modes.mode import peer

    reason = str(error) or type(error).__name__
    log.info("client %s was turned away: %s", peer(address), " ".join(reason.split()))


async def _readable(conn: socket.socket) -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(conn.fileno(), tell)
    try:
        await ready
    finally:
        loop.remove_reader(conn.fileno())
