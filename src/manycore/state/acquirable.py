"""What locks and semaphores have in common."""

from __future__ import annotations

import logging
from typing import Final

from manycore.base import life

from .proxy import Facts, Proxy

REASON: Final = b"f"  # to wait for: it is free
_log = logging.getLogger("manycore.state")


class Acquirable(Proxy):
    """What every lock has."""

    __slots__ = ("_lost",)

    def _use(self, facts: Facts) -> None:
        del facts
        self._lost: int | None = None

    @property
    def lost_holder(self) -> int | None:
        """The process id of the dead holder from whom this proxy took over; None otherwise."""
        return self._lost

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002  # as threading has it
        """Takes it.

        Args:
            blocking: Whether to wait for it.
            timeout: For how many seconds at most; None or a negative number: as long as it takes.

        Returns:
            Whether it was taken.
        """
        raise NotImplementedError

    def release(self) -> None:
        """Gives it back."""
        raise NotImplementedError

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def took_over(self, holder: bytes) -> None:
        """Notes that a holder has died."""
        self._lost = life.pid_of(holder)
        _log.warning("%s: taken over from process %d, which died", self._label(), self._lost)


def seconds(timeout: float | None, *, blocking: bool = True) -> float | None:
    """Reads a time-out as threading does: none or a negative one is for ever."""
    if not blocking:
        if timeout is not None and timeout >= 0:
            raise ValueError("can't specify a timeout for a non-blocking call")
        return 0.0
    return None if timeout is None or timeout < 0 else float(timeout)
