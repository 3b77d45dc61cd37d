"""What wakes the dispatcher: any thread may ring, and need not when it is awake."""

from __future__ import annotations

import os
from contextlib import suppress


class Bell:
    """A descriptor to wait on, and whether somebody waits.

    Attributes:
        wanted: Whether a new task is to be told at once: the dispatcher sleeps and has room for it.
        fd: Readable after a ring.
    """

    def __init__(self) -> None:
        self.wanted = False
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def ring(self) -> bool:
        """Wakes the dispatcher; False when there is none any more."""
        self.wanted = False
        try:
            os.eventfd_write(self.fd, 1)
        except (OSError, ValueError):
            self.wanted = True  # so that whoever comes next looks, too
            return False
        return True

    def silence(self) -> None:
        """Takes note of all rings."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.fd)

    def close(self) -> None:
        """From now on nobody hears it, and whoever rings is told so."""
        fd, self.fd = self.fd, -1
        os.close(fd)
        self.wanted = True
