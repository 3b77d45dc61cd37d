"""What a worker knows of its siblings, and does with them: connections are handed to and fro.

Rule: whoever hands a connection on looks, a moment later, whether it was taken. One that was not,
by a sibling that does not move at all, is taken back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from manycore.base.board import Board

from . import balance
from .handover import Handed, Inboxes
from .statistics import Column, State, rows_in_use

RESCUE_AFTER: Final = 0.1  # seconds: a worker that is only busy has taken something by then


class _Given(NamedTuple):
    progress: int  # what the sibling had accepted then
    until: float


class Siblings:
    """The other workers, as one of them sees them.

    Args:
        place: The worker's own.
        inboxes: Everybody's.
        board: What everybody has open.
        limit: How many connections a worker can have.
    """

    def __init__(self, place: int, inboxes: Inboxes, board: Board, limit: int) -> None:
        self.place = place
        self._inboxes = inboxes
        self._board = board
        self._limit = limit
        self._given: dict[int, _Given] = {}
        self._deaf: dict[int, int] = {}  # who did not move, and what they had accepted then

    def fileno(self) -> int:
        """The descriptor that is readable while something is in this worker's inbox."""
        return self._inboxes.fileno(self.place)

    def take(self) -> Handed | None:
        """Takes a connection that a sibling handed on; None when there is none."""
        return self._inboxes.take(self.place)

    def offer(self, mine: int, listener: int, conn: Any, address: Any) -> bool:
        """Hands a connection on if a sibling is to have it.

        Args:
            mine: How many connections this worker has, this one included.
            listener: The number of the listener that it came from.
            conn: The connection.
            address: Its peer's.

        Returns:
            Whether it was handed on.
        """
        loads, progress = self._look()
        if balance.recipient(mine, loads, self._limit) is None:
            return False
        for place in loads:  # what is on its way to them counts too
            loads[place] += self._inboxes.queued(place)
        place = balance.recipient(mine, loads, self._limit)
        if place is None or not self._inboxes.put(place, listener, conn, address):
            return False
        if place not in self._given:
            self._given[place] = _Given(progress[place], time.monotonic() + RESCUE_AFTER)
        return True

    def put_aside(self, handed: Handed) -> None:
        """Puts a connection into this worker's own inbox: there is no room for it now."""
        self._inboxes.put(self.place, handed.listener, handed.conn, handed.address)

    def deadline(self) -> float | None:
        """When to call `rescue`, by the monotonic clock; None when nothing is on its way."""
        return min((given.until for given in self._given.values()), default=None)

    def rescue(self) -> Iterator[Handed]:
        """Takes back what was handed to siblings that do not move."""
        now = time.monotonic()
        _, progress = self._look()
        for place, given in list(self._given.items()):
            if given.until > now:
                continue
            del self._given[place]
            if not self._inboxes.queued(place):
                continue
            accepted = progress.get(place)
            if accepted is not None and accepted != given.progress:
                self._given[place] = _Given(accepted, now + RESCUE_AFTER)
                continue
            self._deaf[place] = given.progress
            while (handed := self._inboxes.take(place)) is not None:
                yield handed

    def _look(self) -> tuple[dict[int, int], dict[int, int]]:
        """Reads the board: who has how many open, of those that take more; who took how many."""
        loads: dict[int, int] = {}
        progress: dict[int, int] = {}
        rows = rows_in_use(self._board)
        columns = (Column.STATE, Column.NUMBER, Column.ACCEPTED, Column.FINISHED)
        for state, place, accepted, finished in zip(
            *(self._board.column(column, rows) for column in columns), strict=True
        ):
            if state != State.READY or place == self.place or place not in self._inboxes:
                continue
            progress[place] = accepted
            if self._deaf.get(place) == accepted:
                continue
            self._deaf.pop(place, None)
            loads[place] = max(0, accepted - finished)
        return loads, progress
