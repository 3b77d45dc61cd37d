"""Which worker a new connection is for, whoever accepts it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from manycore.server.balance import SLACK, STEP, recipient

places = st.integers(1, 20)
counts = st.integers(0, 300)
siblings = st.dictionaries(places, counts, max_size=12)


@given(counts.map(lambda count: count + 1), siblings, st.integers(-1, 1))
def test_a_move_goes_to_who_has_the_fewest_and_has_room(
    mine: int, loads: dict[int, int], more: int
) -> None:
    """Nobody else is chosen, and nobody who is full when this worker has just become so."""
    place = recipient(mine, loads)
    if place is not None:
        assert loads[place] == min(loads.values())
        assert loads[place] < mine + more


@given(counts.map(lambda count: count + 1), siblings)
def test_a_move_leaves_less_difference(mine: int, loads: dict[int, int]) -> None:
    """After it, who took the connection does not have more than who gave it."""
    place = recipient(mine, loads)
    if place is not None:
        assert loads[place] + 1 <= mine - 1


@given(st.integers(1, 300), st.integers(1, 12))
def test_equals_keep_what_they_accept(load: int, workers: int) -> None:
    """A connection is not handed round among those who have the same."""
    loads = dict.fromkeys(range(2, workers + 1), load)
    assert recipient(load, loads) is None
    assert recipient(load + 1, loads) is None


@given(st.integers(1, 12), st.lists(st.integers(0, 11), max_size=400))
def test_arrivals_are_balanced_whoever_accepts_them(workers: int, acceptors: list[int]) -> None:
    """No order in which the kernel wakes workers gives one of them many more than another."""
    loads = dict.fromkeys(range(workers), 0)
    for acceptor in acceptors:
        me = acceptor % workers
        others = {place: load for place, load in loads.items() if place != me}
        place = recipient(loads[me] + 1, others)
        loads[me if place is None else place] += 1
        mean = sum(loads.values()) / workers
        assert max(loads.values()) - min(loads.values()) <= STEP + SLACK * mean


@given(st.integers(2, 12), st.lists(st.integers(0, 11), min_size=400, max_size=400))
def test_two_hundred_on_four_workers(workers: int, acceptors: list[int]) -> None:
    """At fifty connections a worker, the fullest has at most a tenth more than the mean."""
    loads = dict.fromkeys(range(workers), 0)
    for acceptor in (acceptors * 2)[: 50 * workers]:
        me = acceptor % workers
        others = {place: load for place, load in loads.items() if place != me}
        place = recipient(loads[me] + 1, others)
        loads[me if place is None else place] += 1
    assert max(loads.values()) <= 1.1 * 50
