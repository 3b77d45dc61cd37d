"""The main thread's side of a mode in which one thread serves all connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from manycore.server.modes.onethread import OneThreadMode
from manycore.server.statistics import Column, create_board
from manycore.server.visit import Visit


class Desk(OneThreadMode):
    """Serves each connection until it is told to end it."""

    def __init__(self, row: memoryview, freed: Callable[[], None]) -> None:
        self.calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.there: list[Visit] = []
        super().__init__(threading.Thread(target=self._run, name="desk"), 2, row, freed)

    def _run(self) -> None:
        while (call := self.calls.get()) is not None:
            call()

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        self.calls.put(lambda: function(*arguments))

    def _hand_over(self, visit: Visit) -> None:
        self._call(self.there.append, visit)

    def _disconnect(self, visit: Visit) -> None:
        if visit in self.there:
            self.there.remove(visit)
            self._ledger.finished()

    def _end(self) -> None:
        for visit in list(self.there):
            self._disconnect(visit)

    def _stop(self) -> None:
        self.calls.put(None)

    def settle(self) -> None:
        """Returns when that thread has done all that it was asked for."""
        done = threading.Event()
        self._call(done.set)
        assert done.wait(5)


@pytest.fixture
def freed() -> list[int]:
    return []


@pytest.fixture
def desk(freed: list[int]) -> Iterator[Desk]:
    with create_board() as board, board.row(1) as row:
        desk = Desk(row, lambda: freed.append(1))
        desk.start()
        yield desk
        desk.close(5)
        assert not desk._thread.is_alive()


def serve_one(desk: Desk) -> Visit:
    visit = Visit(socket.socket(), "")
    visit.conn.close()
    place = desk.reserve()
    assert place is not None
    desk.serve(place, visit)
    return visit


def test_it_takes_as_many_as_it_may(desk: Desk) -> None:
    """A place is only a number: what is reserved and released takes none."""
    assert not desk.is_threaded
    assert list(desk.threads()) == [desk._thread.native_id]
    desk.release(True)
    visits = [serve_one(desk) for _ in range(2)]
    assert (desk.open, desk.limit, desk.full, desk.reserve()) == (2, 2, True, None)
    desk.settle()
    assert desk.there == visits
    desk.disconnect(visits[0])
    desk.disconnect(visits[0])
    desk.settle()
    assert (desk.open, desk.full, desk.reserve()) == (1, False, True)


def test_it_calls_when_there_is_room(desk: Desk, freed: list[int]) -> None:
    """Once, and at once if there is room already."""
    visit = serve_one(desk)
    desk.wake_below(1)
    assert freed == []
    desk.disconnect(visit)
    desk.settle()
    assert freed == [1]
    desk.wake_below(1)
    assert freed == [1, 1]


def test_it_counts_what_it_ends(desk: Desk) -> None:
    """All of them, in its thread; the board has what came and what has ended."""
    for _ in range(2):
        serve_one(desk)
    assert desk.end_connections() == 2
    desk.settle()
    assert desk.open == 0
    row = desk._ledger._row
    assert [row[Column.ACCEPTED], row[Column.FINISHED], row[Column.THREADS]] == [2, 2, 1]
