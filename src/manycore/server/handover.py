"""Connections on their way from one worker to another: one inbox a place, which outlives workers.

Guarantees: handing on never waits; a connection is taken by one worker or stays in the inbox, from
which any worker, and the supervisor, can take it; so a worker that dies, or is stuck, loses none
that it had not yet taken. Nothing has a name: the kernel frees all with the last process.
"""

from __future__ import annotations

import array
import fcntl
import json
import os
import socket
import struct
import termios
from contextlib import suppress
from typing import Any, Final, NamedTuple

_HEAD: Final = struct.Struct("!HH")  # the listener's number, the length of the address
MESSAGE_BYTES: Final = 256  #: of every message, so that their number can be told from their size
_ROOM: Final = MESSAGE_BYTES - _HEAD.size

_INTERNET, _TEXT, _BYTES = b"i", b"t", b"b"  # what an address is: see socket.accept


class Handed(NamedTuple):
    """A connection that was handed on.

    Attributes:
        conn: The connection.
        address: Its peer's, as `accept` gave it.
        listener: The number of the listener that it came from, from 0.
    """

    conn: socket.socket
    address: Any
    listener: int


def encode(listener: int, address: Any) -> bytes:
    """Writes what goes beside a connection.

    Raises:
        ValueError: When the address is longer than any that the kernel gives.

    Example:
        >>> decode(encode(1, ("127.0.0.1", 4711)))
        (1, ('127.0.0.1', 4711))
    """
    if isinstance(address, bytes):
        data = _BYTES + address
    elif isinstance(address, str):
        data = _TEXT + os.fsencode(address)
    else:
        data = _INTERNET + json.dumps(address).encode()
    if len(data) > _ROOM:
        raise ValueError(f"an address of {len(data)} bytes does not fit into {_ROOM}")
    return (_HEAD.pack(listener, len(data)) + data).ljust(MESSAGE_BYTES, b"\0")


def decode(message: bytes) -> tuple[int, Any]:
    """Reads what `encode` wrote: the listener's number and the address.

    Raises:
        ValueError: When it is nothing that `encode` writes.
    """
    if len(message) != MESSAGE_BYTES:
        raise ValueError(f"a message of {len(message)} bytes, not {MESSAGE_BYTES}")
    listener, length = _HEAD.unpack_from(message)
    if not 1 <= length <= _ROOM:
        raise ValueError(f"an address of {length} bytes")
    data = message[_HEAD.size : _HEAD.size + length]
    match data[:1]:
        case b"b":
            return listener, data[1:]
        case b"t":
            return listener, os.fsdecode(data[1:])
        case b"i":
            address = json.loads(data[1:])
            if isinstance(address, list):
                return listener, tuple(address)
    raise ValueError(f"an address that begins with {data[:1]!r}")


class Inboxes:
    """The inboxes of all places. Made by the supervisor; workers inherit those made before them."""

    def __init__(self) -> None:
        self._pairs: dict[int, tuple[socket.socket, socket.socket]] = {}

    def provide(self, places: int) -> None:
        """Makes the inboxes of the places from 1 to this one that have none.

        Raises:
            OSError: When there are no descriptors for them.
        """
        for place in range(1, places + 1):
            if place not in self._pairs:
                pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                for sock in pair:
                    sock.setblocking(False)
                self._pairs[place] = pair

    def __contains__(self, place: int) -> bool:
        return place in self._pairs

    def fileno(self, place: int) -> int:
        """The descriptor that is readable while something is in a place's inbox."""
        return self._pairs[place][1].fileno()

    def queued(self, place: int) -> int:
        """Counts what is in an inbox."""
        size = array.array("i", [0])
        fcntl.ioctl(self._pairs[place][1], termios.FIONREAD, size)
        return size[0] // MESSAGE_BYTES

    def put(self, place: int, listener: int, conn: socket.socket, address: Any) -> bool:
        """Hands a connection on; the caller still has its own descriptor. False if it could not."""
        try:
            message = encode(listener, address)
            socket.send_fds(self._pairs[place][0], [message], [conn.fileno()])
        except (OSError, ValueError):  # the inbox is full, or too much is on its way (ETOOMANYREFS)
            return False
        return True

    def take(self, place: int) -> Handed | None:
        """Takes the oldest connection out of an inbox; None when it is empty.

        Raises:
            OSError: When there is no descriptor for it; then it is gone.
        """
        inbox = self._pairs[place][1]
        try:
            message, fds, _, _ = socket.recv_fds(
                inbox, MESSAGE_BYTES, 1, socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
            )
        except BlockingIOError:
            return None
        if not fds:
            raise OSError("a connection that was handed over found no free descriptor")
        conn = socket.socket(fileno=fds[0])
        listener, address = decode(message)
        return Handed(conn, address, listener)

    def move(self, source: int, target: int) -> int:
        """Puts what is in one inbox into another; gives the number of connections moved."""
        moved = 0
        with suppress(OSError):
            while (handed := self.take(source)) is not None:
                with handed.conn:
                    moved += self.put(target, handed.listener, handed.conn, handed.address)
        return moved

    def close(self) -> None:
        """Lets go of all of them."""
        for pair in self._pairs.values():
            for sock in pair:
                sock.close()
        self._pairs.clear()
