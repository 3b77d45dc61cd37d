"""How a hub learns that something came: edge-triggered, and told once.

Where there is no epoll, a hub asks at every turn for just what its greenlets wait for. That costs a
look at every connection a turn, so there greenlets are for some hundreds of connections.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from typing import Protocol

from manycore.base import kernel


class Side(Protocol):
    """One direction of a connection."""

    @property
    def waiting(self) -> object | None:
        """Who waits for it."""


class Watched(Protocol):
    """What has a descriptor that the hub watches."""

    @property
    def reading(self) -> Side:
        """Its incoming side."""

    @property
    def writing(self) -> Side:
        """Its outgoing side."""


class Edges(Protocol):
    """What tells; `select.epoll` is one."""

    def register(self, fd: int, what: int = ...) -> None:
        """Tells of a descriptor from now on."""

    def modify(self, fd: int, what: int) -> None:
        """Tells of other things, and of those at once that have come already."""

    def unregister(self, fd: int) -> None:
        """Tells of it no more."""

    def poll(self, timeout: float | None, most: int, /) -> list[tuple[int, int]]:
        """Waits; gives descriptors, each with what has come."""

    def close(self) -> None:
        """Lets go of it."""


if kernel.HAS_EPOLL:
    READABLE = select.EPOLLIN
    INTEREST = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLPRI | select.EPOLLET
    INTEREST_IN_ROOM = INTEREST | select.EPOLLOUT
    ENDS = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR | select.EPOLLPRI
    WRITABLE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR
else:
    READABLE = select.POLLIN
    INTEREST = INTEREST_IN_ROOM = 0  # what is asked for depends on who waits
    ENDS = select.POLLHUP | select.POLLERR | select.POLLNVAL
    WRITABLE = select.POLLOUT | select.POLLHUP | select.POLLERR | select.POLLNVAL


def edges(watched: Sequence[Watched | None]) -> Edges:
    """Gives the best that this kernel has.

    Args:
        watched: The connections by descriptor, as the hub has them.
    """
    return select.epoll() if kernel.HAS_EPOLL else AskedFor(watched)


class AskedFor:
    """Stands in for epoll: what nobody waits for is not asked for, and so is told once."""

    def __init__(self, watched: Sequence[Watched | None]) -> None:
        self._watched = watched
        self._always: set[int] = set()

    def register(self, fd: int, what: int = 0) -> None:
        """Tells of a descriptor that is no connection at every turn."""
        if what != INTEREST:
            self._always.add(fd)

    def modify(self, fd: int, what: int) -> None:
        """Who waits shows what is asked for."""

    def unregister(self, fd: int) -> None:
        """A connection is not looked at once the hub has forgotten it."""

    def poll(self, timeout: float | None, _most: int, /) -> list[tuple[int, int]]:
        """Waits for what somebody waits for now."""
        poller = select.poll()
        for fd in self._always:
            poller.register(fd, select.POLLIN)
        for fd, one in enumerate(self._watched):
            if one is None:
                continue
            reading = select.POLLIN if one.reading.waiting is not None else 0
            writing = select.POLLOUT if one.writing.waiting is not None else 0
            if reading or writing:
                poller.register(fd, reading | writing)
        return poller.poll(None if timeout is None else timeout * 1000)

    def close(self) -> None:
        """There is nothing to let go of."""
