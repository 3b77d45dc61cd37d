"""A bell that any thread or process may ring, and whose descriptor who waits for it waits on."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from . import descriptors, kernel

_MANY = 65_536  # rings that are taken note of at once: what a pipe holds


class Doorbell:
    """An eventfd; where there is none, a pipe.

    Attributes:
        ring: Makes the descriptor readable. It never waits.

    Example:
        >>> bell = Doorbell()
        >>> _ = bell.ring(), bell.ring()
        >>> bell.hear()
        >>> bell.close()
    """

    ring: Callable[[], None]

    def __init__(self) -> None:
        if kernel.HAS_EVENTFD:
            self._ear = self._button = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self.ring = partial(os.eventfd_write, self._button, 1)
        else:
            self._ear, self._button = descriptors.pipe()
            self.ring = partial(_press, self._button)

    def fileno(self) -> int:
        """Gives the descriptor that is readable after a ring, until somebody hears it."""
        return self._ear

    def hear(self) -> None:
        """Takes note of all rings.

        Raises:
            BlockingIOError: When there was none.
        """
        if kernel.HAS_EVENTFD:
            os.eventfd_read(self._ear)
        else:
            os.read(self._ear, _MANY)

    def close(self) -> None:
        """Lets go of it."""
        for fd in {self._ear, self._button}:
            os.close(fd)


def _press(button: int) -> None:
    with suppress(BlockingIOError):  # it is full of rings: one is enough
        os.write(button, b"!")
