"""Where workers find the inboxes of places that were added after they were started.

Guarantees: what is posted stays until it is replaced, however many read it, so it does not matter
which of the two workers that a place has during a reload looks, or when; nobody is woken for it,
and nobody waits.

The notice is one message in a socket, which nobody takes out: workers only peek, which on Linux
gives them descriptors of their own each time. It has room for the `MOST` places that were added
last; a worker that was started before still more were added knows those after the next reload.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, TypeAlias

from manycore.base.kernel import GIVES_WHAT_IS_PEEKED
from manycore.base.rights import receive

MOST: Final = 126  # places, of two descriptors each: SCM_MAX_FD, include/net/scm.h, is 253
_NUMBER: Final = 2  # bytes of a place's number

Pair: TypeAlias = tuple[socket.socket, socket.socket]


class Notice:
    """The notice, as the supervisor makes it and its forked workers have it."""

    def __init__(self) -> None:
        self._writer, self._reader = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET if GIVES_WHAT_IS_PEEKED else socket.SOCK_DGRAM
        )
        self._writer.setblocking(False)
        self._reader.setblocking(False)

    def post(self, pairs: Mapping[int, Pair]) -> bool:
        """Replaces what is posted by these; False if the kernel let us not."""
        if not GIVES_WHAT_IS_PEEKED:
            return True
        places = sorted(pairs)[-MOST:]
        fds = [sock.fileno() for place in places for sock in pairs[place]]
        with suppress(BlockingIOError):  # there was none
            self._reader.recv(1)
        try:
            numbers = b"".join(place.to_bytes(_NUMBER, "big") for place in places)
            socket.send_fds(self._writer, [numbers], fds)
        except OSError:  # too much is on its way (ETOOMANYREFS)
            return False
        return True

    def look(self) -> dict[int, Pair]:
        """Gives what is posted; all of it is the caller's to close."""
        if not GIVES_WHAT_IS_PEEKED:
            return {}
        try:
            numbers, fds = receive(self._reader, _NUMBER * MOST, 2 * MOST, socket.MSG_PEEK)
        except BlockingIOError:
            return {}
        ends = [socket.socket(fileno=fd) for fd in fds]
        starts = range(0, len(numbers), _NUMBER)
        places = [int.from_bytes(numbers[at : at + _NUMBER], "big") for at in starts]
        if len(ends) != 2 * len(places):  # there were not enough free descriptors
            for end in ends:
                end.close()
            return {}
        return dict(zip(places, zip(ends[::2], ends[1::2], strict=True), strict=True))

    def only_read(self) -> None:
        """Lets go of what only the supervisor needs."""
        self._writer.close()

    def close(self) -> None:
        """Lets go of it."""
        self._writer.close()
        self._reader.close()
