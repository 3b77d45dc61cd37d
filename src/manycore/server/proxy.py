"""PROXY protocol headers, versions 1 and 2: how long one is, and whom it names. Pure.

Facts: "The PROXY protocol", HAProxy's doc/proxy-protocol.txt, sections 2.1 and 2.2. A version 1
header is one line of at most 107 bytes that ends in CR LF; one of version 2 is a signature of 12
bytes, a byte of version and command, one of family and transport, two of length, and that many
more. A LOCAL command, and what is of no known family, leave the connection's own address as it is.

Guarantees: whatever the bytes and however they are split, `length` gives the same answer as soon
as it can give one; it never counts a byte behind the header; only `ProxyError` is raised.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
LONGEST_LINE: Final = 107  # bytes of version 1, CR LF included: section 2.1
LONGEST: Final = 4096  # bytes of version 2 that we read: addresses and what goes with them
_FIXED: Final = 16  # bytes of version 2 before the addresses
_HIGHEST_PORT: Final = 65_535

_LOCAL, _PROXY = 0x20, 0x21
_IPV4_STREAM, _IPV6_STREAM, _UNIX_STREAM = 0x11, 0x21, 0x31
#: bytes of both addresses and both ports
_ADDRESS_BYTES: Final = {_IPV4_STREAM: 12, _IPV6_STREAM: 36, _UNIX_STREAM: 216}


class ProxyError(ValueError):
    """These bytes are no PROXY header."""


def length(data: bytes) -> int | None:
    r"""Gives how many bytes a header has, by its first bytes; None: more of them are needed.

    Raises:
        ProxyError: When no header begins like this.

    Example:
        >>> length(b"PROXY UNKNOWN\r\nhello")
        15
        >>> length(b"PRO") is None
        True
    """
    if SIGNATURE.startswith(data[: len(SIGNATURE)]):
        return _length_of_two(data)
    if b"PROXY ".startswith(data[:6]):
        end = data.find(b"\n", 0, LONGEST_LINE)
        if end >= 0:
            return end + 1
        if len(data) >= LONGEST_LINE:
            raise ProxyError(f"its line is longer than {LONGEST_LINE} bytes")
        return None
    raise ProxyError("it begins with no PROXY header")


def _length_of_two(data: bytes) -> int | None:
    if len(data) > len(SIGNATURE) and data[12] not in {_LOCAL, _PROXY}:
        raise ProxyError(f"its version and command are {data[12]:#04x}")
    if len(data) < _FIXED:
        return None
    total = _FIXED + int.from_bytes(data[14:16], "big")
    if total > LONGEST:
        raise ProxyError(f"it has {total} bytes, and at most {LONGEST} are read")
    return total


def parse(header: bytes) -> Any:
    r"""Reads a whole header.

    Returns:
        The client's address, as `socket.getpeername` would give it; None: the connection's own.

    Raises:
        ProxyError: When it is malformed.

    Example:
        >>> parse(b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n")
        ('192.0.2.1', 56324)
    """
    if header.startswith(SIGNATURE):
        return _parse_two(header)
    return _parse_one(header)


def _parse_one(header: bytes) -> Any:
    if not header.endswith(b"\r\n"):
        raise ProxyError("its line does not end in CR LF")
    try:
        words = header[:-2].decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise ProxyError("its line is not ASCII") from None
    match words:
        case ["PROXY", "UNKNOWN", *_]:
            return None
        case ["PROXY", "TCP4" | "TCP6" as kind, source, destination, port, to_port]:
            version = 4 if kind == "TCP4" else 6
            _address(destination, version)
            _port(to_port)
            return _named(_address(source, version), _port(port))
    raise ProxyError("its line is malformed")


def _address(text: str, version: int) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ProxyError(f"{text!r} is no address") from None
    if address.version != version or "%" in text:
        raise ProxyError(f"{text!r} is no IPv{version} address")
    return str(address)


def _port(text: str) -> int:
    plain = text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")
    if not plain or len(text) > len(str(_HIGHEST_PORT)) or int(text) > _HIGHEST_PORT:
        raise ProxyError(f"{text!r} is no port")
    return int(text)


def _named(host: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    return (host, port, 0, 0) if ":" in host else (host, port)


def _parse_two(header: bytes) -> Any:
    command, kind, body = header[12], header[13], header[_FIXED:]
    if command == _LOCAL or kind not in _ADDRESS_BYTES:
        return None
    if len(body) < _ADDRESS_BYTES[kind]:
        raise ProxyError(f"its addresses have {len(body)} bytes, not {_ADDRESS_BYTES[kind]}")
    if kind == _UNIX_STREAM:
        return body[:108].rstrip(b"\0").decode(errors="surrogateescape")
    size = 4 if kind == _IPV4_STREAM else 16
    port = int.from_bytes(body[2 * size : 2 * size + 2], "big")
    return _named(str(ipaddress.ip_address(body[:size])), port)
