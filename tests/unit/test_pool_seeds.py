"""Streams of random numbers, without a pool."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from manycore.pool.seeds import Numbered, derive, number, stream, task_seed

seeds = st.integers(-(2**70), 2**70)


@given(seeds, st.integers(0, 2**40), st.integers(0, 2**40))
def test_tasks_have_streams_of_their_own(seed: int, first: int, second: int) -> None:
    """The same task has the same, another one another."""
    assert (derive(seed, first) == derive(seed, second)) == (first == second)
    assert 0 <= derive(seed, first) < 2**256


@given(seeds, st.integers(0, 9), st.integers(0, 9))
def test_a_stream_ends_where_it_began(seed: int, first: int, second: int) -> None:
    """Inside it everything is foreseen, within another one too; outside nothing has changed."""
    before = random.getstate()
    with stream(seed, first):
        outer = random.random()
        with stream(seed, second):
            inner = random.random()
            assert task_seed() == derive(seed, second)
        rest = random.random()
    assert random.getstate() == before
    assert task_seed() is None
    with stream(seed, first):
        assert (random.random(), random.random()) == (outer, rest)
    with stream(seed, second):
        assert random.random() == inner


@given(st.lists(st.integers()), st.slices(10))
def test_numbered_items_are_a_sequence(items: list[int], part: slice) -> None:
    """As a list of pairs is."""
    numbered = Numbered(items)
    pairs = list(enumerate(items))
    assert list(numbered) == pairs
    assert len(numbered) == len(items)
    assert numbered[part] == pairs[part]
    assert list(number(iter(items))) == pairs
