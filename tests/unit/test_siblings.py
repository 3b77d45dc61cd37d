"""How a worker hands connections on, and what it does when they are not taken."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from manycore.base.board import Board
from manycore.server import siblings as module
from manycore.server.handover import Inboxes
from manycore.server.siblings import Siblings
from manycore.server.statistics import Column, State, create_board, serving, settle, use_row
from manycore.server.visit import Visit


class Town:
    """Three workers; the first is us."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.inboxes = Inboxes()
        self.inboxes.provide(3)
        for place in (1, 2, 3):
            self.settle_in(place)
        self.us = Siblings(1, self.inboxes, board)
        self.client, self.server = socket.socketpair()

    def settle_in(self, place: int, row: int = 0, state: State = State.READY) -> None:
        cells = self.board.row(row or place)
        use_row(self.board, row or place)
        cells[Column.NUMBER], cells[Column.STATE] = place, state

    def have(self, place: int, open_connections: int) -> None:
        self.board.row(place)[Column.ACCEPTED] = open_connections

    def offer(self, mine: int) -> bool:
        return self.us.offer(mine, Visit(self.server, ""))

    def queued(self) -> list[int]:
        return [self.inboxes.queued(place) for place in (1, 2, 3)]

    def close(self) -> None:
        self.inboxes.close()
        self.client.close()
        self.server.close()


@pytest.fixture
def town(monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    monkeypatch.setattr(module, "RESCUE_AFTER", 0.0)
    with create_board() as board:
        town = Town(board)
        yield town
        town.close()


def take_all(town: Town, place: int) -> int:
    count = 0
    while (visit := town.us.take(place)) is not None:
        visit.conn.close()
        count += 1
    return count


def test_who_has_the_fewest_gets_it(town: Town) -> None:
    """What a sibling has open counts."""
    town.have(2, 5)
    town.have(3, 3)
    assert town.offer(10)
    assert town.queued() == [0, 0, 1]


def test_what_is_on_its_way_counts(town: Town) -> None:
    """So a burst is spread, before anybody has taken anything."""
    kept = 0
    for _ in range(60):
        if not town.offer(kept + 1):
            kept += 1
    assert kept == pytest.approx(20, abs=3)
    assert town.queued()[1:] == pytest.approx([20, 20], abs=2)


def test_who_boots_or_drains_gets_none(town: Town) -> None:
    """Only who takes connections is handed some."""
    town.settle_in(2, state=State.DRAINING)
    town.settle_in(3, state=State.BOOTING)
    assert not town.offer(50)
    assert town.queued() == [0, 0, 0]


def test_a_worker_that_came_later_than_its_inbox(town: Town) -> None:
    """A place that has no inbox here is nobody to hand anything to."""
    town.have(2, 10)
    town.have(3, 10)
    town.settle_in(4, row=4)
    assert not town.offer(11)


def test_the_successor_of_a_place_counts_and_not_who_drains(town: Town) -> None:
    """While a place is renewed it has two workers."""
    town.have(2, 90)
    town.have(3, 20)
    town.settle_in(2, state=State.DRAINING)
    town.settle_in(2, row=4)
    assert town.offer(20)
    assert town.queued() == [0, 1, 0]


def test_what_was_taken_is_not_asked_for(town: Town) -> None:
    """There is nothing to wake up for, once all was taken."""
    assert town.us.deadline() is None
    assert town.offer(10)
    assert town.us.deadline() is not None
    assert town.us.waits
    take_all(town, 2)
    assert not town.us.waits
    assert town.us.overdue() == []
    assert town.us.deadline() is None


def test_a_sibling_that_does_not_move(town: Town) -> None:
    """What it was given is taken back, and it is given no more until it moves."""
    assert town.offer(10)
    assert town.us.overdue() == [2]
    assert take_all(town, 2) == 1
    assert town.us.overdue() == []
    assert town.offer(10)
    assert town.queued() == [0, 0, 1]
    town.have(3, 50)
    assert not town.offer(10)
    town.board.row(2)[Column.ACCEPTED] += 1
    assert town.offer(10)
    assert town.queued() == [0, 1, 1]


def test_a_sibling_that_is_slow_but_moves(town: Town) -> None:
    """It keeps what it was given, as long as it takes something now and then."""
    assert town.offer(10)
    for _ in range(3):
        town.board.row(2)[Column.ACCEPTED] += 1
        assert town.us.overdue() == []
        assert town.us.waits


def test_what_cannot_be_taken_back_yet_is_asked_for_again(town: Town) -> None:
    """A worker that is full itself leaves it where it is, and looks again."""
    assert town.offer(10)
    assert town.us.overdue() == [2]
    assert town.us.deadline() is not None
    assert town.us.overdue() == [2]


def test_a_sibling_that_is_gone(town: Town) -> None:
    """Its row is somebody else's by then; what it had not taken is taken back."""
    town.have(2, 7)
    town.have(3, 9)
    assert town.offer(20)
    settle(town.board, 2)
    assert town.us.overdue() == [2]
    town.settle_in(2)
    assert take_all(town, 2) == 1
    assert town.offer(20)
    assert town.queued() == [0, 1, 0]


def test_the_time_until_then(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted from the first connection that was given, not from the last."""
    monkeypatch.setattr(module, "RESCUE_AFTER", 60.0)
    assert town.offer(10)
    deadline = town.us.deadline()
    town.have(3, 50)
    assert town.offer(10)
    assert town.queued() == [0, 2, 0]
    assert town.us.deadline() == deadline
    assert town.us.overdue() == []


def test_the_board_tells_who_serves(town: Town) -> None:
    """Rows that nobody has used yet are not looked at."""
    town.have(3, 4)
    town.board.row(3)[Column.FINISHED] = 1
    town.board.row(9)[Column.STATE] = State.READY
    assert serving(town.board) == [(1, 0, 0), (2, 0, 0), (3, 4, 1)]
