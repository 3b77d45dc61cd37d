"""How a worker waits for connections, signals and its siblings at once: there are two ways.

Where the kernel has EPOLLEXCLUSIVE, workers stand in a line: a connection wakes one of them, that
which has waited longest, and who has accepted goes to the end of the line by leaving and joining it
again. Elsewhere a connection wakes all who wait; one of them gets it, and the others find nothing.
"""

from __future__ import annotations

import select
from typing import Protocol

from manycore.base import kernel


class Listening(Protocol):
    """What one worker waits for."""

    def watch(self, fd: int) -> None:
        """Waits for a descriptor of this worker's own, too."""

    def unwatch(self, fd: int) -> None:
        """Waits for a descriptor no more, whichever it is."""

    def join(self, fd: int) -> None:
        """Waits for a listener that the siblings have too."""

    def rejoin(self, fd: int) -> None:
        """Lets all siblings that wait for a listener go first."""

    def wait(self, timeout: float | None, /) -> list[tuple[int, int]]:
        """Gives the descriptors that have something, each with what; none after the timeout."""


def listening() -> Listening:
    """Gives the best way that this kernel has."""
    return InLine() if kernel.HAS_EPOLL else Together()


class InLine:
    """Workers in a line."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.wait = self._epoll.poll
        self.unwatch = self._epoll.unregister

    def watch(self, fd: int) -> None:
        """Waits for a descriptor of this worker's own, too."""
        self._epoll.register(fd, select.EPOLLIN)

    def join(self, fd: int) -> None:
        """Takes a place at the end of a listener's line."""
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE)

    def rejoin(self, fd: int) -> None:
        """Goes to the end of the line."""
        self._epoll.unregister(fd)
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE)


class Together:
    """Workers that are all woken."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self.unwatch = self._poll.unregister

    def watch(self, fd: int) -> None:
        """Waits for a descriptor."""
        self._poll.register(fd, select.POLLIN)

    join = watch

    def rejoin(self, fd: int) -> None:
        """There is no line."""

    def wait(self, timeout: float | None, /) -> list[tuple[int, int]]:
        """Waits until a descriptor has something."""
        return self._poll.poll(None if timeout is None else timeout * 1000)
