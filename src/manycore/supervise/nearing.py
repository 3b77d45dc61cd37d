"""What comes before a graceful stop.

First the delay that was asked for, so that whoever sends clients here may notice. Then nobody new
is heard, and who is half in may come in: workers that left before would leave them to be reset.
All the while everything goes on as usual.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .timers import Timers

if TYPE_CHECKING:
    from .supervisor import Crew

log = logging.getLogger("manycore.supervise")

PATIENCE: Final = 1.5  # seconds: a packet that was lost is repeated after 1, and comes from far
LOOK_EVERY: Final = 0.02  # seconds at least, and ten times what a look takes


class Nearing:
    """The time before one stop.

    Args:
        crew: Who is told.
        timers: What wakes us.
        delay: Seconds that were asked for.
        stop: Called when it is over.
    """

    def __init__(self, crew: Crew, timers: Timers, delay: float, stop: Callable[[], None]) -> None:
        self._crew = crew
        self._timers = timers
        self._delay = delay
        self._stop = stop
        self.began = False

    def begin(self) -> None:
        """A graceful stop is asked for; a second time changes nothing."""
        if self.began:
            return
        self.began = True
        if not self._delay:
            self._close_the_door()
            return
        log.info("stopping in %g s: whoever sends clients here may notice", self._delay)
        self._crew.stop_nears(self._delay)
        self._timers.call_later(self._delay, self._close_the_door)

    def _close_the_door(self) -> None:
        self._crew.close_the_door()
        self._let_in(time.monotonic() + PATIENCE)

    def _let_in(self, until: float) -> None:
        """Waits until nobody is half in any more, or for too long."""
        began = time.monotonic()
        if began >= until or not self._crew.somebody_is_half_in():
            self._stop()
            return
        pause = max(LOOK_EVERY, 10 * (time.monotonic() - began))
        self._timers.call_later(pause, lambda: self._let_in(until))
