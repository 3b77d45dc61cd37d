"""Where workers find the inboxes of places that were added after they were started.

Guarantees: what is posted stays until it is replaced, however many read it, so it does not matter
which of the two workers that a place has during a reload looks, or when; nobody is woken for it,
and nobody waits.

A notice is one message in a socket that nobody ever takes out: workers only peek, which on Linux
gives them descriptors of their own each time. One message has at most 253 of them (SCM_MAX_FD,
include/net/scm.h), so each hundred places has its notice.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final, TypeAlias

from manycore.base.kernel import GIVES_WHAT_IS_PEEKED
from manycore.base.rights import receive
from manycore.settings import MOST_WORKERS

PAGE: Final = 100  # places
_NUMBER: Final = 2  # bytes of a place's number

Pair: TypeAlias = tuple[socket.socket, socket.socket]


class Notices:
    """The notices, as the supervisor makes them and its forked workers have them."""

    def __init__(self) -> None:
        pages = -(-MOST_WORKERS // PAGE) if GIVES_WHAT_IS_PEEKED else 0
        self._pages = [
            socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(pages)
        ]
        for page in self._pages:
            for sock in page:
                sock.setblocking(False)
        self._stale: set[int] = set()  # pages

    def post(self, pairs: Mapping[int, Pair], new: Iterable[int]) -> None:
        """Replaces the notices of places that are new, and those that could not be before."""
        self._stale.update(_page(place) for place in new)
        for page in list(self._stale):
            if page < len(self._pages):
                places = [place for place in pairs if _page(place) == page]
                fds = [sock.fileno() for place in places for sock in pairs[place]]
                writer, reader = self._pages[page]
                with suppress(BlockingIOError):  # there was none
                    reader.recv(1)
                with suppress(OSError):  # too much is on its way (ETOOMANYREFS): it is tried again
                    numbers = b"".join(place.to_bytes(_NUMBER, "big") for place in places)
                    socket.send_fds(writer, [numbers], fds)
                    self._stale.discard(page)

    def look(self, place: int) -> dict[int, Pair]:
        """Gives what is posted with a place; all of it is the caller's to close."""
        if _page(place) >= len(self._pages):
            return {}
        reader = self._pages[_page(place)][1]
        try:
            numbers, fds = receive(reader, _NUMBER * PAGE, 2 * PAGE, socket.MSG_PEEK)
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

    def close(self) -> None:
        """Lets go of them."""
        for page in self._pages:
            for sock in page:
                sock.close()
        self._pages.clear()


def _page(place: int) -> int:
    return (place - 1) // PAGE
