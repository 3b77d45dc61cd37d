"""The board that workers write and everybody reads, and what a server reads from it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest

from manycore.base.board import CELL_BYTES, Board
from manycore.server.statistics import (
    Column,
    ServerStatistics,
    State,
    WorkerStatistics,
    create_board,
    mark_gone,
    read,
)

LARGEST = 2**64 - 1


@pytest.fixture
def board() -> Iterator[Board]:
    with create_board(3) as board:
        yield board


def in_a_child(work: Callable[[], None]) -> None:
    """Runs it in a forked process and waits for its end."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# before a fork Python warns of the thread that watches over pytest's time
forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class TestBoard:
    def test_a_new_board_is_zeros(self) -> None:
        """It has the rows and columns that were asked for, and nothing in them."""
        with Board.create(rows=3, columns=5) as board:
            assert (board.rows, board.columns) == (3, 5)
            assert [list(board.row(index)) for index in range(3)] == [[0] * 5] * 3
            assert os.fstat(board.fd).st_size == 3 * 5 * CELL_BYTES

    def test_rows_do_not_overlap(self) -> None:
        """What is written into a row is in that row only."""
        with Board.create(rows=3, columns=2) as board:
            board.row(1)[0], board.row(1)[1] = 1, LARGEST
            assert [list(board.row(index)) for index in range(3)] == [[0, 0], [1, LARGEST], [0, 0]]

    def test_a_row_ends_with_its_columns(self) -> None:
        """A writer cannot reach beyond its row."""
        with Board.create(rows=2, columns=2) as board, board.row(0) as row:
            with pytest.raises(IndexError):
                row[2] = 1
            assert list(board.row(1)) == [0, 0]

    @forks
    def test_a_childs_row_is_seen_here(self) -> None:
        """A forked worker writes into a row that it got before the fork."""
        with Board.create(rows=2, columns=2) as board, board.row(1) as row:

            def write() -> None:
                row[1] = LARGEST

            in_a_child(write)
            assert list(row) == [0, LARGEST]
            assert list(board.row(0)) == [0, 0]

    @forks
    def test_a_parents_row_is_seen_by_a_child(self) -> None:
        """What is written after the fork is shared too, in both directions."""
        asked, go = os.pipe()
        with Board.create(rows=1, columns=2) as board, open(asked, "rb") as pipe:
            pid = os.fork()
            if pid == 0:
                try:
                    os.close(go)
                    pipe.read()
                    row = board.row(0)
                    row[1] = row[0] + 1
                finally:
                    os._exit(0)
            board.row(0)[0] = 41
            os.close(go)
            os.waitpid(pid, 0)
            assert list(board.row(0)) == [41, 42]

    def test_a_descriptor_is_enough(self) -> None:
        """Another process that got the descriptor sees the same cells."""
        with Board.create(rows=2, columns=3) as board:
            with Board(os.dup(board.fd), columns=3) as other:
                board.row(1)[2] = 7
                assert other.rows == 2
                assert list(other.row(1)) == [0, 0, 7]

    def test_closing_keeps_the_rows_that_are_held(self) -> None:
        """A handler thread that still counts may do so; the descriptor is closed all the same."""
        board = Board.create(rows=1, columns=1)
        fd, row = board.fd, board.row(0)
        board.close()
        row[0] += 1
        assert row[0] == 1
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(fd)
        row.release()

    def test_closing_twice_closes_once(self) -> None:
        """The number of a closed descriptor may be somebody else's already."""
        board = Board.create(rows=1, columns=1)
        board.close()
        reader, writer = os.pipe()
        board.close()
        os.close(reader)
        os.close(writer)


def fill(board: Board, number: int, **cells: int) -> None:
    row = board.row(number - 1)
    for name, value in cells.items():
        row[Column[name.upper()]] = value


class TestStatistics:
    def test_workers_that_were_never_there(self, board: Board) -> None:
        """Every number has its entry from the beginning."""
        nobody = dict.fromkeys(
            ("pid", "restarts", "accepted", "open", "finished", "failed", "lost", "threads"), 0
        )
        assert read(board).workers == tuple(
            WorkerStatistics(worker=number, state="down", uptime=0.0, **nobody)
            for number in (1, 2, 3)
        )

    def test_a_row_is_read_as_it_was_written(self, board: Board) -> None:
        """Each cell has its attribute; what is open follows from the others."""
        fill(board, 2, pid=77, state=State.READY, since=time.monotonic_ns() - 5 * 10**9, starts=3)
        fill(board, 2, accepted=100, finished=90, failed=4, lost=3, threads=8)
        worker = read(board).workers[1]
        assert 5.0 <= worker.uptime < 60.0
        assert (worker.worker, worker.pid, worker.state, worker.restarts) == (2, 77, "ready", 2)
        assert (worker.accepted, worker.open, worker.finished) == (100, 7, 90)
        assert (worker.failed, worker.lost, worker.threads) == (4, 3, 8)

    @pytest.mark.parametrize(
        ("state", "name", "serves"),
        [
            (State.DOWN, "down", False),
            (State.BOOTING, "booting", False),
            (State.READY, "ready", True),
            (State.DRAINING, "draining", True),
        ],
    )
    def test_only_who_serves_has_an_uptime(
        self, board: Board, state: State, name: str, serves: bool
    ) -> None:
        """Before it is ready a worker has none, and while it drains it keeps it."""
        fill(board, 1, state=state, since=time.monotonic_ns() - 10**9)
        worker = read(board).workers[0]
        assert worker.state == name
        assert (worker.uptime >= 1.0) == serves

    def test_a_row_that_moves_while_it_is_read_gives_nothing_below_zero(self, board: Board) -> None:
        """Cells are read one after another; between two of them a connection may end."""
        fill(board, 1, state=State.READY, since=time.monotonic_ns() + 10**12)
        fill(board, 1, accepted=5, finished=6)
        worker = read(board).workers[0]
        assert worker.open == 0
        assert worker.uptime == 0.0

    def test_sums_are_over_all_workers(self, board: Board) -> None:
        """The server's figures are the workers' together."""
        fill(board, 1, accepted=10, finished=6, failed=1, lost=2)
        fill(board, 2, accepted=20, finished=20, failed=3)
        fill(board, 3, accepted=30, finished=5, lost=4)
        whole = read(board)
        assert (whole.accepted, whole.finished, whole.failed, whole.lost) == (60, 31, 4, 6)
        assert whole.open == 2 + 0 + 21

    def test_no_workers_sum_up_to_nothing(self) -> None:
        """Sums of nothing are zeros."""
        none = ServerStatistics(())
        assert (none.accepted, none.open, none.finished, none.failed, none.lost) == (0, 0, 0, 0, 0)

    def test_a_worker_that_is_gone_lost_what_was_open(self, board: Board) -> None:
        """What it had accepted and not finished is lost; its counters stay, the rest is cleared."""
        fill(board, 2, pid=77, state=State.READY, since=1, starts=1, threads=8)
        fill(board, 2, accepted=10, finished=7, failed=1)
        assert mark_gone(board, 2) == 3
        worker = read(board).workers[1]
        assert (worker.pid, worker.state, worker.threads, worker.uptime) == (0, "down", 0, 0.0)
        assert (worker.accepted, worker.finished, worker.failed, worker.lost) == (10, 7, 1, 3)
        assert worker.open == 0

    def test_losses_add_up_over_replacements(self, board: Board) -> None:
        """Each death counts its own connections, once."""
        fill(board, 1, accepted=10, finished=7)
        assert mark_gone(board, 1) == 3
        assert mark_gone(board, 1) == 0
        fill(board, 1, accepted=15, finished=10)
        assert mark_gone(board, 1) == 2
        assert read(board).lost == 5

    def test_only_the_workers_own_row_is_closed(self, board: Board) -> None:
        """Workers are numbered from 1, rows from 0."""
        for number in (1, 2, 3):
            fill(board, number, pid=number, accepted=number)
        assert mark_gone(board, 1) == 1
        assert [worker.pid for worker in read(board).workers] == [0, 2, 3]
        assert [worker.lost for worker in read(board).workers] == [1, 0, 0]

    @forks
    def test_a_workers_counts_outlive_it(self, board: Board) -> None:
        """What a child wrote is there after it died without a word."""

        def work() -> None:
            fill(board, 3, pid=os.getpid(), state=State.READY, accepted=9, finished=4)

        in_a_child(work)
        assert mark_gone(board, 3) == 5
        assert read(board).accepted == 9
