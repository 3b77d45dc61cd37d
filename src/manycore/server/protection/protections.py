"""The protections of all workers, as the supervisor has them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from manycore.base.board import Board
from manycore.server.modes.mode import Mode
from manycore.server.statistics import Column
from manycore.settings import ServeSettings

from . import addresses
from .addresses import AddressCounts
from .gate import Gate
from .guard import Guard


class Protections:
    """What the workers' guards share.

    Args:
        settings: The bounds.
        board: What every worker has open.
    """

    def __init__(self, settings: ServeSettings, board: Board) -> None:
        self._settings = settings
        self._board = board
        self._counts = addresses.create_counts() if settings.max_per_address else None

    def guard(
        self, index: int, ring: Callable[[], None]
    ) -> Callable[[Mode, Callable[[], None]], Guard]:
        """Gives what makes the guard of the worker with this row; in the worker."""
        settings, counts = self._settings, None
        if self._counts is not None:
            counts = AddressCounts(self._counts, self._board, index, settings.max_per_address)
        gate = Gate(settings, self._board, index, counts)
        return partial(self._guard, gate, index, ring)

    def _guard(
        self,
        gate: Gate,
        index: int,
        ring: Callable[[], None],
        mode: Mode,
        spent: Callable[[], None],
    ) -> Guard:
        row, sums = self._board.row(index), self._board.row(0)
        return Guard(self._settings, mode, gate, row, spent, sums, ring)

    def share_among(self, workers: int) -> None:
        """Tells how many workers the connections are divided among."""
        self._board.row(0)[Column.NUMBER] = workers

    def forget(self, index: int) -> None:
        """Clears what a worker that is gone had."""
        if self._counts is not None:
            addresses.forget(self._counts, index)

    def close(self) -> None:
        """Lets go of the counts here."""
        if self._counts is not None:
            self._counts.close()
