"""The decisions behind shared state: keys, spans, heaps, permits and records."""

from __future__ import annotations

import heapq
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from manycore.state import records
from manycore.state.barriers import Gathering
from manycore.state.encoding import decode_key, encode_key
from manycore.state.heap import push, take
from manycore.state.permits import Permits
from manycore.state.span import Span, position_key

SIMPLE = st.one_of(
    st.integers(), st.floats(allow_nan=False), st.text(), st.binary(), st.booleans(), st.none()
)
KEYS = st.recursive(SIMPLE, lambda inner: st.lists(inner, max_size=3).map(tuple))
PROCESSES = st.sampled_from([bytes([n]) * 16 for n in range(3)])


@given(KEYS, KEYS)
def test_keys_are_one_if_and_only_if_they_are_equal(one: Any, two: Any) -> None:
    """The rule that a dict lives by; and every key comes back."""
    assert (encode_key(one)[0] == encode_key(two)[0]) == (one == two)
    assert decode_key(*encode_key(one)) == one


@given(st.lists(st.integers(-(1 << 62), 1 << 62)))
def test_positions_sort_as_their_bytes(positions: list[int]) -> None:
    """So that the store keeps a list in order."""
    ordered = sorted(positions)
    assert sorted(map(position_key, positions)) == [position_key(one) for one in ordered]


@given(st.lists(st.tuples(st.booleans(), st.integers(-8, 8)), max_size=40))
def test_a_span_moves_items_as_a_list_does(steps: list[tuple[bool, int]]) -> None:
    """Inserting and deleting: what is where, and that no more than half is moved."""
    span, records_, builtin = Span(0, 0), dict[int, int](), list[int]()
    for number, (inserts, index) in enumerate(steps):
        if inserts:
            builtin.insert(index, number)
            span, shift, at = span.insert(index)
            move(records_, shift)
            records_[at] = number
        else:
            position = span.index(index)
            assert (position is None) == (not -len(builtin) <= index < len(builtin))
            if position is None:
                continue
            del builtin[index]
            span, shift, at = span.delete(position)
            move(records_, shift)
            del records_[at]
        assert len(shift.positions) <= max(1, len(builtin) // 2 + 1)
        assert [records_[one] for one in range(span.start, span.end)] == builtin
        assert len(records_) == len(builtin)


def move(items: dict[int, int], shift: Any) -> None:
    for position in shift.positions:
        items[position + shift.by] = items[position]


@given(st.lists(st.one_of(st.none(), st.integers(0, 20)), max_size=60))
def test_the_heap_is_a_heap(steps: list[int | None]) -> None:
    """Against heapq: the same items come out, in the same order."""
    places: dict[int, bytes] = {}
    builtin: list[int] = []
    for item in steps:
        if item is not None:
            places.update(push(places.__getitem__, len(builtin), b"%d" % item, int))
            heapq.heappush(builtin, item)
        elif builtin:
            smallest = int(places[0])
            places.update(take(places.__getitem__, len(builtin), int))
            del places[len(builtin) - 1]
            assert smallest == heapq.heappop(builtin)
        assert sorted(int(one) for one in places.values()) == sorted(builtin)


@given(
    st.integers(0, 3),
    st.lists(st.tuples(st.sampled_from(["acquire", "release", "die"]), PROCESSES), max_size=40),
)
def test_permits_are_neither_lost_nor_made_up(begin: int, steps: list[tuple[str, bytes]]) -> None:
    """What is free and what is held is what there was, and what was released beyond that."""
    permits, total = Permits(begin), begin
    for what, process in steps:
        held = sum(count for _, count in permits.held)
        match what:
            case "acquire":
                after = permits.acquire(process)
                assert (after is None) == (permits.free == 0)
                permits = after or permits
            case "release":
                total += held == 0
                permits = permits.release(process)
            case _:
                permits = permits.without({process})
                assert process not in dict(permits.held)
        assert permits.free + sum(count for _, count in permits.held) == total
        assert Permits.parse(permits.pack()) == permits
        assert all(count > 0 for _, count in permits.held)


@given(
    st.binary(),
    st.binary(min_size=9, max_size=9),
    st.one_of(st.none(), st.binary()),
    st.one_of(st.none(), st.floats(0, 1e12)),
)
def test_a_record_gives_back_what_was_put_into_it(
    data: bytes, order: bytes, original: bytes | None, expires: float | None
) -> None:
    """Whichever parts it has."""
    record = records.pack(data, order, original, expires)
    assert record.startswith(data)
    assert records.order(record) == order
    assert records.original(record) == original
    assert records.expiry(record) == expires
    assert records.is_expired(record, 1e13) == (expires is not None)


@given(st.lists(st.sampled_from(["arrive", "open", "reset"]), max_size=40))
def test_a_barriers_turns_go_on_and_only_resets_void_them(steps: list[str]) -> None:
    """No turn comes twice, and who waited through a reset is told."""
    states = [Gathering()]
    for step in steps:
        now = states[-1]
        states.append(now.arrive(b"p") if step == "arrive" else getattr(now, step)())
    for before, after in pairwise(states):
        assert after.turn in {before.turn, before.turn + 1}
        voided = after.void - before.void
        assert voided <= {before.turn}
        assert not voided or before.here
