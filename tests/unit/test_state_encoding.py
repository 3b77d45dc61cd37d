"""Keys and values as bytes."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from manycore.state.encoding import LONGEST, decode_key, dumps, encode_key, loads


class Colour(enum.IntEnum):
    RED = 1


class Point(NamedTuple):
    x: int
    y: int


@dataclass(frozen=True)
class Name:
    first: str


def test_equal_keys_of_different_types_are_one_key() -> None:
    """As in a builtin dict: numbers by value, tuples by their parts, subclasses by their base."""
    groups: list[list[Any]] = [
        [1, 1.0, True, Colour.RED],
        [0, 0.0, -0.0, False],
        [(1, "a"), (True, "a"), (1.0, "a"), Point(1, "a")],  # type: ignore[arg-type]
        [frozenset({1, 2}), frozenset({2.0, True})],
    ]
    names = [{encode_key(key)[0] for key in group} for group in groups]
    assert [len(group) for group in names] == [1] * len(groups)
    assert len(set.union(*names)) == len(groups)


KEYS: list[Any] = [
    "", "a", "ä" * 10, "\ud800", b"", b"a", 0, -1, 1 << 300, True, 1.0, 0.5, float("inf"), None,
    (), (1, ("a", None)), frozenset({1}), Colour.RED, Point(1, 2), Name("ann"), "x" * 5000,
    ("x" * 600, 1), range(3), complex(1, 2),
]  # fmt: skip


def test_a_key_comes_back_as_it_was() -> None:
    """Of the same type, whatever its bytes are; and its bytes fit into the store."""
    for key in KEYS:
        name, original = encode_key(key)
        back = decode_key(name, original)
        assert (back, type(back)) == (key, type(key))
        assert len(name) <= LONGEST


def test_equal_objects_pickle_to_one_key() -> None:
    """Which of their parts are the same object makes no difference."""
    part, same = str(b"ab", "ascii"), str(b"ab", "ascii")
    assert part is not same
    assert encode_key((Name(part), part))[0] == encode_key((Name(part), same))[0]


def test_an_unhashable_key_is_a_type_error() -> None:
    """The builtin's own."""
    keys: list[Any] = [[], {}, set(), ([],), (1, {})]
    for key in keys:
        with pytest.raises(TypeError, match="unhashable"):
            encode_key(key)


def test_functions_without_a_name_travel_by_value() -> None:
    """And bytes behind a pickle are ignored."""
    assert loads(dumps(lambda x: x + 1) + b"tail")(2) == 3
    with pytest.raises(TypeError):
        dumps(iter_once())


def iter_once() -> Iterator[int]:
    yield 1
