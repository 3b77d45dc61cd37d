"""What a worker knows of its siblings, and how it hands connections on to them.

Rule: whoever hands a connection on looks, a moment later, whether it was taken. From a sibling that
does not move at all it is taken back, and that one is handed no more until it moves.
"""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from manycore.base.board import Board

from . import balance
from .handover import Inboxes
from .statistics import serving
from .visit import Visit

RESCUE_AFTER: Final = 0.5  # seconds: a worker that is only busy has taken something by then


class _Given(NamedTuple):
    accepted: int  # what the sibling had taken then
    until: float


class Siblings:
    """The other workers, as one of them sees them.

    Args:
        place: The worker's own.
        inboxes: Everybody's.
        board: What everybody has open.
    """

    def __init__(self, place: int, inboxes: Inboxes, board: Board) -> None:
        self.place = place
        self._inboxes = inboxes
        self._board = board
        self._given: dict[int, _Given] = {}
        self._deaf: dict[int, int] = {}  # who does not move, and what they had accepted then

    def fileno(self) -> int:
        """The descriptor that is readable while something is in this worker's inbox."""
        return self._inboxes.fileno(self.place)

    def take(self, place: int) -> Visit | None:
        """Takes a connection out of an inbox, this worker's or an `overdue` one; None: it is empty.

        Raises:
            OSError: When there is no descriptor for it; it stays where it is.
        """
        return self._inboxes.take(place)

    def offer(self, mine: int, visit: Visit) -> bool:
        """Hands a connection on if a sibling is to have it.

        Args:
            mine: How many connections this worker has, this one included.
            visit: The connection; still to be closed here.

        Returns:
            Whether it was handed on.
        """
        if mine < balance.STEP:
            return False
        loads, accepted = self._look()
        if balance.recipient(mine, loads) is None:
            return False
        for place in loads:  # what is on its way to them counts too
            loads[place] += self._inboxes.queued(place)
        chosen = balance.recipient(mine, loads)
        if chosen is None or not self._inboxes.put(chosen, visit):
            return False
        if chosen not in self._given:
            self._given[chosen] = _Given(accepted[chosen], time.monotonic() + RESCUE_AFTER)
        return True

    def deadline(self) -> float | None:
        """When to ask who is overdue, by the monotonic clock; None: nothing was given of late."""
        return min((given.until for given in self._given.values()), default=None)

    @property
    def waits(self) -> bool:
        """Whether something that was given is not taken yet."""
        self._given = {
            place: given for place, given in self._given.items() if self._inboxes.queued(place)
        }
        return bool(self._given)

    def overdue(self) -> list[int]:
        """Gives the places from whose inboxes this worker shall take back what it gave them."""
        now = time.monotonic()
        _, accepted = self._look(deaf_too=True)
        found = []
        for place, given in list(self._given.items()):
            if given.until > now:
                continue
            if not self._inboxes.queued(place):
                del self._given[place]
                continue
            now_accepted = accepted.get(place, -1)  # nobody serves there any more
            if now_accepted in {-1, given.accepted}:
                found.append(place)
                self._deaf[place] = now_accepted
            self._given[place] = _Given(now_accepted, now + RESCUE_AFTER)
        return found

    def _look(self, *, deaf_too: bool = False) -> tuple[dict[int, int], dict[int, int]]:
        """Reads the board, by place: who has how many open, and has accepted how many so far."""
        loads: dict[int, int] = {}
        progress: dict[int, int] = {}
        for place, accepted, finished in serving(self._board):
            if place == self.place or not self._inboxes.knows(place):
                continue
            if self._deaf.get(place) == accepted and not deaf_too:
                continue
            loads[place], progress[place] = max(0, accepted - finished), accepted
        return loads, progress
