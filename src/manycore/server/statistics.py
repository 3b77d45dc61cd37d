"""What a server's workers did: the columns of the board, and their reading."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import IntEnum

from manycore.base.board import Board


class Column(IntEnum):
    """A worker's row on the board. The worker writes it; once it is gone, the supervisor does."""

    PID = 0
    STATE = 1
    SINCE = 2  #: monotonic nanoseconds at which the worker became ready
    STARTS = 3
    ACCEPTED = 4
    FINISHED = 5
    FAILED = 6
    LOST = 7
    THREADS = 8


class State(IntEnum):
    """What a worker is doing."""

    DOWN = 0
    BOOTING = 1
    READY = 2
    DRAINING = 3


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """One worker's row. Counters go on when a worker is replaced.

    Attributes:
        worker: Its number, from 1.
        pid: Its process id; 0 while there is none.
        state: `down`, `booting`, `ready` or `draining`.
        uptime: Seconds since it became ready; 0.0 before.
        restarts: How often it was replaced.
        accepted: Connections taken.
        open: Connections being served now.
        finished: Connections whose handler has ended.
        failed: Those of them whose handler raised.
        lost: Connections that were open when a worker died.
        threads: Threads that serve, or wait for, connections now.
    """

    worker: int
    pid: int
    state: str
    uptime: float
    restarts: int
    accepted: int
    open: int
    finished: int
    failed: int
    lost: int
    threads: int


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """A server's workers, and their sums.

    Attributes:
        workers: One entry a worker.
    """

    workers: tuple[WorkerStatistics, ...]

    @property
    def accepted(self) -> int:
        """Connections taken, by all workers."""
        return sum(worker.accepted for worker in self.workers)

    @property
    def open(self) -> int:
        """Connections being served now."""
        return sum(worker.open for worker in self.workers)

    @property
    def finished(self) -> int:
        """Connections whose handler has ended."""
        return sum(worker.finished for worker in self.workers)

    @property
    def failed(self) -> int:
        """Connections whose handler raised."""
        return sum(worker.failed for worker in self.workers)

    @property
    def lost(self) -> int:
        """Connections that were open when a worker died."""
        return sum(worker.lost for worker in self.workers)


def create_board(workers: int) -> Board:
    """Makes the board for so many workers."""
    return Board.create(rows=workers, columns=len(Column))


def read(board: Board) -> ServerStatistics:
    """Reads every row."""
    return ServerStatistics(tuple(_read_row(board, number) for number in range(1, board.rows + 1)))


def _read_row(board: Board, number: int) -> WorkerStatistics:
    row = board.row(number - 1).tolist()
    state = State(row[Column.STATE])
    serves = state in {State.READY, State.DRAINING}
    uptime = (time.monotonic_ns() - row[Column.SINCE]) / 1e9 if serves else 0.0
    return WorkerStatistics(
        worker=number,
        pid=row[Column.PID],
        state=state.name.lower(),
        uptime=max(0.0, uptime),
        restarts=max(0, row[Column.STARTS] - 1),
        accepted=row[Column.ACCEPTED],
        # the row may have moved on between two of its cells
        open=max(0, row[Column.ACCEPTED] - row[Column.FINISHED] - row[Column.LOST]),
        finished=row[Column.FINISHED],
        failed=row[Column.FAILED],
        lost=row[Column.LOST],
        threads=row[Column.THREADS],
    )


def mark_gone(board: Board, number: int) -> int:
    """Closes the row of a worker that has ended; gives how many connections it took with it."""
    row = board.row(number - 1)
    lost: int = row[Column.ACCEPTED] - row[Column.FINISHED] - row[Column.LOST]
    row[Column.LOST] += lost
    row[Column.PID], row[Column.STATE], row[Column.THREADS] = 0, State.DOWN, 0
    return lost
