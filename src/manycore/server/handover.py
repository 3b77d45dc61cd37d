"""Connections on their way from one worker to another: an inbox for each place.

Guarantees: handing on never waits; a connection is in an inbox until one process takes it, and any
worker, or the supervisor, can take it from there; so a worker that dies, or is stuck, loses none
that it had not yet taken. No inbox has a name: the kernel frees them, and what is in them, with the
last process.

An inbox is a pair of sockets that the supervisor makes. Workers inherit those of all places; one
that was added later they find at a notice board when they need it, see `notices`. The kernel keeps
the descriptor that is sent along, so the sender need not: taking it is the acknowledgment.
"""

from __future__ import annotations

import array
import fcntl
import json
import logging
import os
import socket
import struct
import sys
import termios
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from manycore.base.rights import receive

from .notices import Notice
from .visit import Visit

log = logging.getLogger("manycore.server")

MESSAGE_BYTES: Final = 256  #: of every message, so that their number can be told from their size
ROOM: Final = 1 << 20  # bytes, the kernel's own included: some hundreds of messages an inbox

_HEAD: Final = struct.Struct("!4scH")  # the mark, the address's kind and length
_MARK: Final = b"conn"
_LONGEST: Final = MESSAGE_BYTES - _HEAD.size
_INTERNET, _PATH, _ABSTRACT = b"i", b"p", b"a"
_MOST_DESCRIPTORS: Final = 2  # more than the one that belongs there, so that more are seen
# either keeps messages whole; not every kernel has the first between processes of one machine
_KIND: Final = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM


def encode(address: Any) -> bytes:
    """Writes what goes along with a connection: what `accept` said of its peer.

    Raises:
        ValueError: When the address is longer than any that the kernel gives.

    Example:
        >>> decode(encode(("127.0.0.1", 4711)))
        ('127.0.0.1', 4711)
    """
    if isinstance(address, bytes):
        kind, data = _ABSTRACT, address
    elif isinstance(address, str):
        kind, data = _PATH, os.fsencode(address)
    else:
        kind, data = _INTERNET, json.dumps(address).encode()
    if len(data) > _LONGEST:
        raise ValueError(f"an address of {len(data)} bytes does not fit into {_LONGEST}")
    return (_HEAD.pack(_MARK, kind, len(data)) + data).ljust(MESSAGE_BYTES, b"\0")


def decode(message: bytes) -> Any:
    """Reads what `encode` wrote: an address.

    Raises:
        ValueError: When it is nothing that `encode` writes.
    """
    if len(message) != MESSAGE_BYTES:
        raise ValueError(f"it has {len(message)} bytes, not {MESSAGE_BYTES}")
    mark, kind, length = _HEAD.unpack_from(message)
    if mark != _MARK or length > _LONGEST:
        raise ValueError(f"it begins with {message[: _HEAD.size]!r}")
    data = message[_HEAD.size : _HEAD.size + length]
    match kind:
        case b"a":
            return data
        case b"p":
            return os.fsdecode(data)
        case b"i":
            address = json.loads(data)
            if isinstance(address, list):
                return tuple(address)
    raise ValueError(f"its address begins with {kind!r}")


class Inboxes:
    """The inboxes of all places, as one process knows them."""

    def __init__(self) -> None:
        self._pairs: dict[int, tuple[socket.socket, socket.socket]] = {}
        self._notice = Notice()
        self._added: list[int] = []  # places, after the first workers were started
        self._posted = True

    def provide(self, places: int) -> None:
        """Makes the inboxes of the places from 1 to this one that have none; the supervisor does.

        Raises:
            OSError: When there are no descriptors for them.
        """
        had = len(self._pairs)
        for place in range(had + 1, places + 1):
            pair = socket.socketpair(socket.AF_UNIX, _KIND)
            for sock in pair:
                sock.setblocking(False)
            pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
            self._pairs[place] = pair
        if had and places > had:
            self._added.extend(range(had + 1, places + 1))
            self._posted = False
        if not self._posted:
            self._posted = self._notice.post({place: self._pairs[place] for place in self._added})

    def knows(self, place: int) -> bool:
        """Whether there is such an inbox; one that was added of late is looked for."""
        if place not in self._pairs:
            for one, pair in self._notice.look().items():
                if one in self._pairs:
                    _close(sock.detach() for sock in pair)
                else:
                    self._pairs[one] = pair
        return place in self._pairs

    def fileno(self, place: int) -> int:
        """The descriptor that is readable while something is in a place's inbox."""
        return self._pairs[place][1].fileno()

    def queued(self, place: int) -> int:
        """Counts what is in an inbox."""
        size = array.array("i", [0])
        fcntl.ioctl(self._pairs[place][1], termios.FIONREAD, size)
        return size[0] // MESSAGE_BYTES

    def put(self, place: int, visit: Visit) -> bool:
        """Hands a connection on; the caller still has its own descriptor. False if it could not."""
        try:
            message, fds = encode(visit.address), [visit.conn.fileno()]
            socket.send_fds(self._pairs[place][0], [message], fds)
        except (ValueError, OSError):  # it is full, or too much is on its way (ETOOMANYREFS)
            return False
        return True

    def take(self, place: int) -> Visit | None:
        """Takes the oldest connection out of an inbox; None when it is empty.

        Raises:
            OSError: When there is no descriptor for it; it stays where it is.
        """
        inbox = self._pairs[place][1]
        while True:
            # the kernel throws away what finds no free descriptor, so one must be free
            os.close(os.dup(inbox.fileno()))
            try:
                message, fds = receive(inbox, MESSAGE_BYTES, _MOST_DESCRIPTORS)
            except BlockingIOError:
                return None
            if (visit := _unpack(message, fds)) is not None:
                return visit

    def forward(self, loads: Mapping[int, int]) -> int:
        """Moves what is in the inboxes of places where nobody serves to who has the fewest.

        Args:
            loads: How many connections are open at each place where somebody serves.

        Returns:
            How many were moved.
        """
        heirs = {place: load for place, load in loads.items() if place in self._pairs}
        moved = 0
        for place in self._pairs.keys() - heirs.keys():
            with suppress(OSError):  # no descriptor: what is left waits for the next worker there
                while heirs and (visit := self.take(place)) is not None:
                    heir = min(heirs, key=lambda one: (heirs[one], one))
                    with visit.conn:
                        moved += self.put(heir, visit)
                    heirs[heir] += 1
        return moved

    def only_use(self) -> None:
        """Lets go of what only the supervisor needs; a worker does."""
        self._notice.only_read()

    def close(self) -> None:
        """Lets go of all of them."""
        for pair in self._pairs.values():
            for sock in pair:
                sock.close()
        self._pairs.clear()
        self._notice.close()


def _unpack(message: bytes, fds: list[int]) -> Visit | None:
    """Makes a visit of a message; None, and a line in the log, when it is none."""
    try:
        if len(fds) != 1:
            raise ValueError(f"{len(fds)} descriptors came with it, not 1")
        address = decode(message)
        return Visit(socket.socket(fileno=fds[0]), address)
    except (ValueError, OSError) as error:  # nothing of ours sends such a thing
        _close(fds)
        log.error("dropped what is no connection that was handed on: %s", error)  # noqa: TRY400
        return None


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
