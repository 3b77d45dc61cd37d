"""Says which file and line keeps a loop from running.

Guarantees: it costs nothing while the loop has nothing to do, and two looks in `slow` seconds while
it has; one place fills no log. What takes one and a half times as long is always seen.

The loop counts its lots of work; a thread looks whether it is still at the same piece of the same
lot, and where.
"""

from __future__ import annotations

import linecache
import logging
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Final

log = logging.getLogger("manycore.server")

AGAIN_AFTER: Final = 60.0  # seconds until the same place is worth another line in the log

_LIBRARIES: Final = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


class Watchdog:
    """Watches the loop of one thread.

    Args:
        slow: Seconds that a piece of work may take; 0: any time, and nobody watches.
        left: Says how many pieces of the present lot are still to do, from any thread.

    Attributes:
        work: Counts lots of work, by 2; it is odd while the loop has some. The loop's to write.
        asleep: The loop must call `awake` when it has something to do.
    """

    def __init__(self, slow: float, left: Callable[[], int]) -> None:
        self.work = 0
        self.asleep = False
        self._slow = slow
        self._left = left
        self._bone = threading.Semaphore(0)
        self._stopped = False
        self._quiet_until: dict[tuple[str, int], float] = {}
        self._watched = 0
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self, thread: int) -> None:
        """Begins to watch a thread, by its identifier."""
        self._watched = thread
        if self._slow:
            self._thread.start()

    def stop(self) -> None:
        """Ends the watching."""
        self._stopped = True
        self._bone.release()

    def awake(self) -> None:
        """Tells that there is something to look at again."""
        self.asleep = False
        self._bone.release()

    def _watch(self) -> None:
        seen = said = (-1, 0)
        since = 0.0
        while not self._stopped:
            work, now = (self.work, self._left()), time.monotonic()
            if work != seen:
                seen, since = work, now
            elif work[0] % 2 == 0:
                self._sleep(work[0])
                continue
            elif now - since >= self._slow and work != said:
                said = work
                self._say(now - since)
            self._bone.acquire(timeout=self._slow / 2)

    def _sleep(self, work: int) -> None:
        """Waits until the loop has something to do."""
        self.asleep = True
        if self.work == work:  # or it did not see that we sleep
            self._bone.acquire()
        self.asleep = False

    def _say(self, seconds: float) -> None:
        frame = sys._current_frames().get(self._watched)  # noqa: SLF001  # there is no other way
        if frame is None:
            return
        place = _place(frame)
        file, line = place.f_code.co_filename, place.f_lineno
        now = time.monotonic()
        if now < self._quiet_until.get((file, line), 0.0):
            return
        self._quiet_until[file, line] = now + AGAIN_AFTER
        log.warning(
            "%s:%d keeps every other connection of this worker waiting, for %.2f s by now: %s",
            file,
            line,
            seconds,
            linecache.getline(file, line).strip() or place.f_code.co_qualname,
        )
        log.debug("%s", "".join(traceback.format_stack(frame)))


def _place(frame: FrameType) -> FrameType:
    """Finds the innermost frame of the user's own code; of a library's, where there is none."""
    found: FrameType | None = frame
    while found is not None:
        file = found.f_code.co_filename
        if not file.startswith((*_LIBRARIES, "<frozen")):
            return found
        found = found.f_back
    return frame
