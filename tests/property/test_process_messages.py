"""Whatever is sent arrives as it was; nonsense that is read is refused, not believed."""

from __future__ import annotations

import os
import pickle
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from manycore.base import birth, oom, passing
from manycore.base.channel import INLINE_BYTES, Channel
from manycore.base.failures import Failure
from manycore.base.family import Kin, members, parse_stat

pure = settings(deadline=None)  # a busy machine may stall any example; pytest's timeout guards

values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@pure
@given(
    messages=st.lists(
        st.binary(max_size=50) | st.integers(INLINE_BYTES - 1, INLINE_BYTES + 2).map(bytes),
        max_size=4,
    ),
    fds=st.integers(0, 5),
)
def test_messages_arrive_as_they_were(messages: list[bytes], fds: int) -> None:
    """Any messages, with any number of descriptors, arrive in order and whole."""
    ours, theirs = Channel.pair()
    with ours, theirs:
        for data in messages:
            ours.send(data, [0] * fds)
        for data in messages:
            received = theirs.receive()
            assert received.data == data
            assert len(received.fds) == fds
            for fd in received.fds:
                os.close(fd)


@pure
@given(number=st.integers(-(2**63), 2**63 - 1), kind=st.sampled_from([b"s", b"x", b"r", b"o"]))
def test_numbers_are_read_back(number: int, kind: bytes) -> None:
    """Pids and exit codes are read as they were written, with anything behind them."""
    assert birth.read_number(birth.number_message(kind, number) + b"rest") == number


@pure
@given(value=values)
def test_plain_values_travel(value: object) -> None:
    """Plain values arrive equal, and need no cloudpickle."""
    data = passing.dumps(value, passing.Cargo())
    assert pickle.loads(data) == value
    assert b"cloudpickle.cloudpickle" not in data or "cloudpickle" in repr(value)


@pure
@given(args=st.lists(values, max_size=3))
def test_exceptions_travel(args: list[object]) -> None:
    """An exception arrives with its arguments, and reading it raises nothing."""
    failure = pickle.loads(pickle.dumps(Failure.of(ValueError(*args))))
    again = failure.rebuild()
    assert type(again) is ValueError
    assert again.args == tuple(args)


@pure
@given(line=st.binary() | st.text(st.sampled_from("0123456789 ()S-")).map(str.encode))
def test_no_line_of_proc_is_believed_blindly(line: bytes) -> None:
    """A line is read, or refused with ValueError; nothing else."""
    try:
        kin = parse_stat(line)
    except ValueError:
        return
    assert isinstance(kin.pid, int)


@pure
@given(
    rows=st.lists(
        st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(1, 9), st.integers(0, 3)),
        unique_by=lambda row: row[0],
    ),
    root=st.integers(1, 9),
)
def test_a_family_is_finite_and_stays_in_its_world(
    rows: list[tuple[int, int, int, int]], root: int
) -> None:
    """Whatever the parents and groups, circles too, the family is found and is of that world."""
    world = {pid: Kin(pid, parent, group, start, "S") for pid, parent, group, start in rows}
    found = members(world, [world[root]] if root in world else [])
    assert found <= set(world.values())
    children = {kin for kin in world.values() if kin.parent == root and root in world}
    assert children <= found


@pure
@given(text=st.binary())
def test_no_counter_is_believed_blindly(text: bytes) -> None:
    """Whatever a counter's file holds, a whole number from 0 comes out, or nothing."""
    count = oom.parse_kills(text)
    assert count is None or count >= 0
