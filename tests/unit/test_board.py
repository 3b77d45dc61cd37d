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
    read,
    settle,
)
from manycore.settings import MOST_WORKERS

LARGEST = 2**64 - 1


@pytest.fixture
def board() -> Iterator[Board]:
    with create_board() as board:
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


def fill(board: Board, index: int, **cells: int) -> None:
    """Writes cells of a row, as a worker does."""
    row = board.row(index)
    for name, value in cells.items():
        row[Column[name.upper()]] = value


def sums(board: Board) -> tuple[int, ...]:
    """What is read as accepted, open, finished, failed and lost."""
    whole = read(board)
    return whole.accepted, whole.open, whole.finished, whole.failed, whole.lost


class TestStatistics:
    def test_a_new_board_has_no_workers(self, board: Board) -> None:
        """Nobody lives, and nobody did anything."""
        assert read(board) == ServerStatistics((), 0, 0, 0, 0, 0, 0, 0)

    def test_there_is_room_for_every_worker_and_its_successor(self, board: Board) -> None:
        """As many rows as may be needed at a time, beside the one for the sums."""
        assert board.rows == 1 + 2 * MOST_WORKERS

    def test_a_row_is_read_as_it_was_written(self, board: Board) -> None:
        """Each cell has its attribute; what is open follows from the others."""
        since = time.monotonic_ns() - 5 * 10**9
        fill(board, 7, pid=77, number=2, generation=3, restarts=4, state=State.READY, since=since)
        fill(board, 7, accepted=100, finished=93, failed=4, threads=8, mode=1)
        fill(board, 7, refused=5, expired=6)
        (worker,) = read(board).workers
        assert 5.0 <= worker.uptime < 60.0
        assert worker == WorkerStatistics(
            worker=2,
            pid=77,
            generation=3,
            state="ready",
            uptime=worker.uptime,
            restarts=4,
            accepted=100,
            open=7,
            finished=93,
            failed=4,
            refused=5,
            expired=6,
            threads=8,
            mode="asyncio",
        )

    def test_workers_are_in_the_order_of_their_places(self, board: Board) -> None:
        """Whatever rows they have; a successor comes after the one that it succeeds."""
        fill(board, 4, pid=1, number=1, generation=1)
        fill(board, 9, pid=2, number=1)
        fill(board, 1, pid=3, number=3)
        fill(board, 1000, pid=4, number=2)
        assert [worker.pid for worker in read(board).workers] == [2, 1, 4, 3]

    @pytest.mark.parametrize(
        ("state", "name", "serves"),
        [
            (State.BOOTING, "booting", False),
            (State.READY, "ready", True),
            (State.DRAINING, "draining", True),
        ],
    )
    def test_only_who_serves_has_an_uptime(
        self, board: Board, state: State, name: str, serves: bool
    ) -> None:
        """Before it is ready a worker has none, and while it drains it keeps it."""
        fill(board, 1, pid=77, state=state, since=time.monotonic_ns() - 10**9)
        (worker,) = read(board).workers
        assert worker.state == name
        assert (worker.uptime >= 1.0) == serves

    def test_a_row_that_moves_while_it_is_read_gives_nothing_below_zero(self, board: Board) -> None:
        """Cells are read one after another; between two of them a connection may end."""
        fill(board, 1, pid=77, state=State.READY, since=time.monotonic_ns() + 10**12)
        fill(board, 1, accepted=5, finished=6)
        (worker,) = read(board).workers
        assert worker.open == 0
        assert worker.uptime == 0.0

    def test_sums_are_over_all_workers(self, board: Board) -> None:
        """The server's figures are the workers' together."""
        fill(board, 1, pid=1, accepted=10, finished=8, failed=1)
        fill(board, 2, pid=2, accepted=20, finished=20, failed=3)
        fill(board, 9, pid=3, accepted=30, finished=9)
        assert sums(board) == (60, 2 + 0 + 21, 37, 4, 0)

    def test_a_worker_that_is_gone_lost_what_was_open(self, board: Board) -> None:
        """What it did is summed up; what it had accepted and not finished is lost."""
        fill(board, 2, pid=77, number=1, state=State.READY, since=1, threads=8)
        fill(board, 2, accepted=10, finished=7, failed=1, refused=2)
        assert settle(board, 2) == 3
        assert read(board) == ServerStatistics(
            (), accepted=10, open=0, finished=7, failed=1, lost=3, refused=2, expired=0
        )

    def test_a_settled_row_is_as_new(self, board: Board) -> None:
        """Its next worker starts from nothing, and settling it twice adds nothing."""
        fill(board, 2, **dict.fromkeys((column.name.lower() for column in Column), 1))
        settle(board, 2)
        before = sums(board)
        assert list(board.row(2)) == [0] * len(Column)
        assert settle(board, 2) == 0
        assert sums(board) == before

    def test_the_gone_and_the_living_are_counted_together(self, board: Board) -> None:
        """Each death counts its own connections, once, and the next worker's come on top."""
        fill(board, 1, pid=1, accepted=10, finished=7)
        assert settle(board, 1) == 3
        fill(board, 1, pid=2, accepted=5, finished=3, failed=1)
        assert sums(board) == (15, 2, 10, 1, 3)
        assert settle(board, 1) == 2
        assert sums(board) == (15, 0, 10, 1, 5)

    def test_only_the_workers_own_row_is_settled(self, board: Board) -> None:
        """The others live on and keep what they have."""
        for index in (1, 2, 3):
            fill(board, index, pid=index, number=index, accepted=index)
        assert settle(board, 1) == 1
        assert [(worker.pid, worker.open) for worker in read(board).workers] == [(2, 2), (3, 3)]
        assert sums(board) == (6, 5, 0, 0, 1)

    @forks
    def test_a_workers_counts_outlive_it(self, board: Board) -> None:
        """What a child wrote is there after it died without a word."""

        def work() -> None:
            fill(board, 3, pid=os.getpid(), state=State.READY, accepted=9, finished=4)

        in_a_child(work)
        assert settle(board, 3) == 5
        assert sums(board) == (9, 0, 4, 0, 5)
