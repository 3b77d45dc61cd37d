"""What the kernel knows of a TCP connection's traffic, so that nobody has to count it.

Guarantee: one system call a look, and none a message.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
import termios
from typing import Final, NamedTuple

# struct tcp_info, linux/tcp.h: eight bytes, then 32-bit numbers up to byte 104, then 64-bit ones
_INFO_BYTES: Final = 136
_TIMES: Final = struct.Struct("<I4xI")  # last_data_sent, last_ack_sent (unused), last_data_recv
_TIMES_AT: Final = 8 + 4 * 9
_COUNTS: Final = struct.Struct("<QQ")  # bytes_acked, bytes_received
_COUNTS_AT: Final = 120


class Traffic(NamedTuple):
    """One connection's traffic until now.

    Attributes:
        silence: Seconds since a byte came or was sent; since it began, if none was.
        started: Whether any byte has come from either side.
        answered: Whether we have sent something since the last byte came, as far as the kernel's
            clock can tell (it ticks every few milliseconds).
    """

    silence: float
    started: bool
    answered: bool = True


def traffic(conn: socket.socket) -> Traffic | None:
    """Asks the kernel about an accepted connection; None: it cannot say, or that is closed."""
    if conn.family == socket.AF_UNIX:
        return None
    try:
        info = socket.socket.getsockopt(conn, socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except (OSError, AttributeError):  # closed a moment ago, or not Linux
        return None
    if len(info) < _INFO_BYTES:
        return None
    sent, received = _TIMES.unpack_from(info, _TIMES_AT)
    acked, bytes_received = _COUNTS.unpack_from(info, _COUNTS_AT)
    return Traffic(
        min(sent, received) / 1000,
        started=bytes_received > 0 or acked > 0,
        answered=bytes_received == 0 or sent <= received,
    )


def unread(conn: socket.socket) -> int:
    """Gives how many bytes have come that nobody has read yet; 0 of a closed connection."""
    size = array.array("i", [0])
    try:
        fcntl.ioctl(conn.fileno(), termios.FIONREAD, size)
    except (OSError, ValueError):
        return 0
    return size[0]
