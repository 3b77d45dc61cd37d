"""Where to listen, as text and as facts. Pure: nothing is opened here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

SocketAddress: TypeAlias = tuple[str, int] | str
"""What a listener is reached by: `(host, port)`, or the path of a Unix socket."""

HIGHEST_PORT = 65_535
#: what the kernel's sun_path holds, less its closing zero (man 7 unix)
LONGEST_UNIX_PATH = 107

LONGEST_DESCRIPTOR = 10  # digits: a C int holds any nine of them

_HOST_PORT = re.compile(r"(?P<host>\[[^\[\]]+\]|[^\[\]:]*):(?P<port>[0-9]+)")


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host and a port; port 0 lets the kernel choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return format_address((self.host, self.port))


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a Unix stream socket."""

    path: str

    def __str__(self) -> str:
        return format_address(self.path)


@dataclass(frozen=True, slots=True)
class InheritedSocket:
    """A descriptor that is open already and listens."""

    fd: int

    def __str__(self) -> str:
        return f"fd://{self.fd}"


BindAddress: TypeAlias = TcpAddress | UnixAddress | InheritedSocket


def parse_bind(text: str) -> BindAddress:
    """Reads an address to listen on.

    Args:
        text: `host:port`, `[ipv6]:port`, `:port` (every IPv4 interface), `unix:path` or `fd://N`.

    Raises:
        ValueError: With one line that says what is wrong.

    Example:
        >>> parse_bind("[::1]:8888")
        TcpAddress(host='::1', port=8888)
    """
    if text.startswith("unix:"):
        return _parse_unix(text.removeprefix("unix:"))
    if text.startswith("fd://"):
        number = text.removeprefix("fd://")
        if not (number.isascii() and number.isdigit() and len(number) < LONGEST_DESCRIPTOR):
            raise ValueError(f"{text!r} has no descriptor number")
        return InheritedSocket(int(number))
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no address")
    host, port = match["host"], int(match["port"])
    if port > HIGHEST_PORT:
        raise ValueError(f"port {port} is above {HIGHEST_PORT}")
    if any(character.isspace() or not character.isprintable() for character in host):
        raise ValueError(f"{text!r} has a blank in its host")
    return TcpAddress(host[1:-1] if host.startswith("[") else host or "0.0.0.0", port)  # noqa: S104  # asked for by ":port"


def _parse_unix(path: str) -> UnixAddress:
    if not path or "\0" in path:
        raise ValueError(f"'unix:{path}' has no path" if not path else "the path has a zero byte")
    size = len(path.encode(errors="surrogateescape"))
    if size > LONGEST_UNIX_PATH:
        raise ValueError(f"the path has {size} bytes, a Unix socket's at most {LONGEST_UNIX_PATH}")
    return UnixAddress(path)


def format_address(address: SocketAddress) -> str:
    """Writes an address as `parse_bind` reads it.

    Example:
        >>> format_address(("::1", 8888)), format_address("/run/echo.sock")
        ('[::1]:8888', 'unix:/run/echo.sock')
    """
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
