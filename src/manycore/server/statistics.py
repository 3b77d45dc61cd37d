"""What a server's workers did: the columns of the board, and their reading.

Row 0 is the supervisor's: the sums of the workers that are gone, and the last row that was used.
Each worker writes a row of its own while it lives; then the supervisor adds it to row 0 and clears
it for another.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from manycore.base.board import Board
from manycore.settings import MODES, MOST_WORKERS

_TICKS: Final = os.sysconf("SC_CLK_TCK")
ROWS: Final = 1 + 2 * MOST_WORKERS  # every one of them may be draining beside its successor


class Column(IntEnum):
    """A row of the board."""

    PID = 0  #: 0: nobody has this row
    NUMBER = 1
    GENERATION = 2
    RESTARTS = 3
    STATE = 4
    SINCE = 5  #: monotonic nanoseconds at which the worker became ready
    ACCEPTED = 6
    FINISHED = 7
    FAILED = 8
    LOST = 9
    THREADS = 10
    MODE = 11  #: its place in `MODES`
    LAST = 12  #: the last row that was used; of row 0 alone
    REFUSED = 13
    EXPIRED = 14
    CAME = 15  #: monotonic nanoseconds at which the last connection was taken
    STUCK = 16  #: whether the worker found itself stuck when it was last asked


_SUMS = (
    Column.ACCEPTED,
    Column.FINISHED,
    Column.FAILED,
    Column.LOST,
    Column.REFUSED,
    Column.EXPIRED,
)


class State(IntEnum):
    """What a worker is doing."""

    BOOTING = 0
    READY = 1
    DRAINING = 2


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """One worker that lives now.

    Attributes:
        worker: Its place's number, from 1.
        pid: Its process id.
        generation: How many reloads came before it.
        state: `booting`, `ready` or `draining`.
        uptime: Seconds since it became ready; 0.0 before.
        restarts: How many workers its place had before it.
        accepted: Connections taken.
        open: Connections being served now.
        finished: Connections whose handler has ended.
        failed: Those of them whose handler raised.
        refused: Connections that there was no room for, and that were closed at once.
        expired: Connections that were ended since their clients were silent for too long.
        threads: Threads that serve, or wait for, connections now.
        mode: How it serves: `threads`, `asyncio` or `greenlets`.
    """

    worker: int
    pid: int
    generation: int
    state: str
    uptime: float
    restarts: int
    accepted: int
    open: int
    finished: int
    failed: int
    refused: int
    expired: int
    threads: int
    mode: str


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """A server's workers, and what all of them did, those that are gone included.

    Attributes:
        workers: One entry for each that lives, in the order of their places.
        accepted: Connections taken.
        open: Connections being served now.
        finished: Connections whose handler has ended.
        failed: Those of them whose handler raised.
        lost: Connections that were open when their worker died.
        refused: Connections that there was no room for, and that were closed at once.
        expired: Connections that were ended since their clients were silent for too long.
    """

    workers: tuple[WorkerStatistics, ...]
    accepted: int
    open: int
    finished: int
    failed: int
    lost: int
    refused: int
    expired: int


def create_board() -> Board:
    """Makes the board of a server."""
    return Board.create(rows=ROWS, columns=len(Column))


def use_row(board: Board, index: int) -> None:
    """Notes that a row is in use; the supervisor does."""
    sums = board.row(0)
    sums[Column.LAST] = max(sums[Column.LAST], index)


def serving(board: Board) -> list[tuple[int, int, int]]:
    """Reads who takes connections: the place, what it has accepted, and what of that has ended.

    Each worker does that for many a connection, so it costs little.
    """
    width, last = board.columns, board.row(0)[Column.LAST]
    cells = board.cells(1, last + 1)
    return [
        (cells[row + Column.NUMBER], cells[row + Column.ACCEPTED], cells[row + Column.FINISHED])
        for row in range(0, len(cells), width)
        if cells[row + Column.STATE] == State.READY
    ]


def open_connections(board: Board) -> int:
    """Counts what all workers serve now, also those that drain; costs little, like `serving`."""
    width, last = board.columns, board.row(0)[Column.LAST]
    cells = board.cells(1, last + 1)
    return sum(
        cells[row + Column.ACCEPTED] - cells[row + Column.FINISHED]
        for row in range(0, len(cells), width)
        if cells[row + Column.PID]
    )


def read(board: Board) -> ServerStatistics:
    """Reads the whole board."""
    gone, *rows = (board.row(index).tolist() for index in range(board.rows))
    workers = sorted((_worker(row) for row in rows if row[Column.PID]), key=_place)
    return ServerStatistics(
        workers=tuple(workers),
        accepted=gone[Column.ACCEPTED] + sum(worker.accepted for worker in workers),
        open=sum(worker.open for worker in workers),
        finished=gone[Column.FINISHED] + sum(worker.finished for worker in workers),
        failed=gone[Column.FAILED] + sum(worker.failed for worker in workers),
        lost=gone[Column.LOST],
        refused=gone[Column.REFUSED] + sum(worker.refused for worker in workers),
        expired=gone[Column.EXPIRED] + sum(worker.expired for worker in workers),
    )


def _place(worker: WorkerStatistics) -> tuple[int, int]:
    return worker.worker, worker.generation


def _worker(row: list[int]) -> WorkerStatistics:
    state = State(row[Column.STATE])
    ready_for = (time.monotonic_ns() - row[Column.SINCE]) / 1e9
    return WorkerStatistics(
        worker=row[Column.NUMBER],
        pid=row[Column.PID],
        generation=row[Column.GENERATION],
        state=state.name.lower(),
        uptime=0.0 if state is State.BOOTING else max(0.0, ready_for),
        restarts=row[Column.RESTARTS],
        accepted=row[Column.ACCEPTED],
        # the row may have moved on between two of its cells
        open=max(0, row[Column.ACCEPTED] - row[Column.FINISHED]),
        finished=row[Column.FINISHED],
        failed=row[Column.FAILED],
        refused=row[Column.REFUSED],
        expired=row[Column.EXPIRED],
        threads=row[Column.THREADS],
        mode=MODES[row[Column.MODE]],
    )


def settle(board: Board, index: int) -> int:
    """Adds a row whose worker is gone to the sums and clears it.

    Returns:
        How many connections the worker took with it.
    """
    row, gone = board.row(index), board.row(0)
    lost: int = row[Column.ACCEPTED] - row[Column.FINISHED]
    row[Column.LOST] = lost
    for column in _SUMS:
        gone[column] += row[column]
    for column in Column:
        row[column] = 0
    return lost


def thread_seconds(pid: int) -> dict[int, float]:
    """Gives the CPU time that each thread of a process has used; nothing of one that is gone."""
    found = {}
    with suppress(FileNotFoundError, ProcessLookupError):
        for name in os.listdir(f"/proc/{pid}/task"):
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
                with open(f"/proc/{pid}/task/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
                # utime and stime, man 5 proc_pid_stat
                found[int(name)] = (int(fields[11]) + int(fields[12])) / _TICKS
    return found
