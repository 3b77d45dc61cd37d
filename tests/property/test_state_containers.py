"""Shared containers against the builtin ones, under any order of operations."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from manycore import Manager

VALUES = st.one_of(st.integers(-5, 5), st.text(max_size=3), st.lists(st.integers(), max_size=2))
NUMBERS = st.integers(-5, 5)
INDEXES = st.integers(-6, 6)
KEYS = st.one_of(
    st.integers(-3, 3),
    st.booleans(),
    st.sampled_from([0.0, 1.0, 0.5, "a", "b", b"a", None]),
    st.tuples(st.integers(0, 1), st.sampled_from(["x", 1.0])),
    st.text(min_size=600, max_size=601, alphabet="ab"),
)
SLICES = st.slices(6)
FEW = settings(max_examples=40, stateful_step_count=30, deadline=None)
FEW = settings(FEW, suppress_health_check=[HealthCheck.too_slow])


def outcome(function: Callable[[], Any]) -> tuple[str, Any]:
    """What a call gives: a value, or the type of what it raises."""
    try:
        return "value", function()
    except Exception as error:  # whatever the builtin raises, ours must
        return "error", type(error)


class Machine(RuleBasedStateMachine):
    """Does the same to a shared container and to a builtin one."""

    theirs: Any
    ours: Any

    def __init__(self) -> None:
        super().__init__()
        self.manager = Manager()

    def teardown(self) -> None:
        self.manager.shutdown()

    def both(self, function: Callable[[Any], Any]) -> None:
        assert outcome(lambda: function(self.ours)) == outcome(lambda: function(self.theirs))


class ListMachine(Machine):
    @initialize(items=st.lists(NUMBERS, max_size=5))
    def begin(self, items: list[int]) -> None:
        self.ours, self.theirs = self.manager.list(items), list(items)

    @rule(value=NUMBERS)
    def append(self, value: int) -> None:
        self.both(lambda box: box.append(value))

    @rule(values=st.lists(NUMBERS, max_size=4))
    def extend(self, values: list[int]) -> None:
        self.both(lambda box: box.extend(values))

    @rule(index=INDEXES, value=NUMBERS)
    def insert(self, index: int, value: int) -> None:
        self.both(lambda box: box.insert(index, value))

    @rule(index=INDEXES)
    def pop(self, index: int) -> None:
        self.both(lambda box: box.pop(index))

    @rule(value=NUMBERS)
    def remove(self, value: int) -> None:
        self.both(lambda box: box.remove(value))

    @rule(index=st.one_of(INDEXES, SLICES))
    def read(self, index: int | slice) -> None:
        self.both(lambda box: box[index])

    @rule(index=st.one_of(INDEXES, SLICES))
    def delete(self, index: int | slice) -> None:
        self.both(lambda box: box.__delitem__(index))

    @rule(index=INDEXES, value=NUMBERS)
    def assign(self, index: int, value: int) -> None:
        self.both(lambda box: box.__setitem__(index, value))

    @rule(index=SLICES, values=st.lists(NUMBERS, max_size=4))
    def assign_slice(self, index: slice, values: list[int]) -> None:
        self.both(lambda box: box.__setitem__(index, values))

    @rule(reverse=st.booleans())
    def sort(self, reverse: bool) -> None:
        self.both(lambda box: box.sort(reverse=reverse, key=lambda number: number % 3))

    @rule()
    def reverse(self) -> None:
        self.both(lambda box: box.reverse())

    @rule(times=st.integers(-1, 2))
    def multiply(self, times: int) -> None:
        if len(self.theirs) < 30:
            self.ours *= times
            self.theirs *= times

    @rule(value=NUMBERS)
    def ask(self, value: int) -> None:
        self.both(lambda box: (value in box, box.count(value)))
        self.both(lambda box: box.index(value))
        self.both(lambda box: (box + [1], box * 2, list(reversed(box)), str(box)))  # noqa: RUF005

    @rule()
    def clear(self) -> None:
        self.both(lambda box: box.clear())

    @invariant()
    def same(self) -> None:
        if hasattr(self, "ours"):
            assert list(self.ours) == self.theirs
            assert len(self.ours) == len(self.theirs)


class DequeMachine(Machine):
    @initialize(items=st.lists(NUMBERS, max_size=5), maxlen=st.sampled_from([None, 0, 1, 3]))
    def begin(self, items: list[int], maxlen: int | None) -> None:
        self.ours, self.theirs = self.manager.deque(items, maxlen), deque(items, maxlen)

    @rule(value=NUMBERS, left=st.booleans())
    def append(self, value: int, left: bool) -> None:
        self.both(lambda box: box.appendleft(value) if left else box.append(value))

    @rule(values=st.lists(NUMBERS, max_size=4), left=st.booleans())
    def extend(self, values: list[int], left: bool) -> None:
        self.both(lambda box: box.extendleft(values) if left else box.extend(values))

    @rule(left=st.booleans())
    def pop(self, left: bool) -> None:
        self.both(lambda box: box.popleft() if left else box.pop())

    @rule(steps=st.integers(-7, 7))
    def rotate(self, steps: int) -> None:
        self.both(lambda box: box.rotate(steps))

    @rule(index=INDEXES, value=NUMBERS)
    def insert(self, index: int, value: int) -> None:
        self.both(lambda box: box.insert(index, value))

    @rule(index=INDEXES)
    def read_and_delete(self, index: int) -> None:
        self.both(lambda box: box[index])
        self.both(lambda box: box.__delitem__(index))

    @invariant()
    def same(self) -> None:
        if hasattr(self, "ours"):
            assert list(self.ours) == list(self.theirs)
            assert len(self.ours) == len(self.theirs)


class DictMachine(Machine):
    @initialize(items=st.dictionaries(KEYS, VALUES, max_size=4))
    def begin(self, items: dict[Any, Any]) -> None:
        self.ours, self.theirs = self.manager.dict(items), dict(items)

    @rule(key=KEYS, value=VALUES)
    def assign(self, key: Any, value: Any) -> None:
        self.both(lambda box: box.__setitem__(key, value))

    @rule(key=KEYS, value=VALUES)
    def put_for_long(self, key: Any, value: Any) -> None:
        self.ours.put(key, value, ttl=1000.0)
        self.theirs[key] = value

    @rule(key=KEYS)
    def delete(self, key: Any) -> None:
        self.both(lambda box: box.__delitem__(key))

    @rule(key=KEYS)
    def pop(self, key: Any) -> None:
        self.both(lambda box: box.pop(key))

    @rule(key=KEYS, value=VALUES)
    def setdefault(self, key: Any, value: Any) -> None:
        self.both(lambda box: box.setdefault(key, value))

    @rule()
    def popitem(self) -> None:
        self.both(lambda box: box.popitem())

    @rule(items=st.dictionaries(KEYS, VALUES, max_size=4))
    def update(self, items: dict[Any, Any]) -> None:
        self.both(lambda box: box.update(items))

    @rule(key=KEYS)
    def ask(self, key: Any) -> None:
        self.both(lambda box: (box.get(key), box.get(key, 5), key in box))
        self.both(lambda box: box[key])

    @rule()
    def clear(self) -> None:
        self.both(lambda box: box.clear())

    @rule(key=KEYS, fails=st.booleans())
    def fail_in_a_transaction(self, key: Any, fails: bool) -> None:
        with contextlib.suppress(LookupError), self.manager.transaction():
            self.ours[key] = 1
            if fails:
                raise LookupError
        if not fails:
            self.theirs[key] = 1

    @invariant()
    def same(self) -> None:
        if hasattr(self, "ours"):
            assert repr(list(self.ours.items())) == repr(list(self.theirs.items()))
            assert len(self.ours) == len(self.theirs)


class SetMachine(Machine):
    @initialize(items=st.frozensets(KEYS, max_size=4))
    def begin(self, items: frozenset[Any]) -> None:
        self.ours, self.theirs = self.manager.set(items), set(items)

    @rule(key=KEYS)
    def add(self, key: Any) -> None:
        new = key not in self.theirs
        assert self.ours.add(key) is new
        self.theirs.add(key)

    @rule(key=KEYS)
    def remove(self, key: Any) -> None:
        self.both(lambda box: box.remove(key))

    @rule(items=st.frozensets(KEYS, max_size=4), how=st.sampled_from("|&-^"))
    def combine(self, items: frozenset[Any], how: str) -> None:
        match how:
            case "|":
                self.ours |= items
                self.theirs |= items
            case "&":
                self.ours &= items
                self.theirs &= items
            case "-":
                self.ours -= items
                self.theirs -= items
            case _:
                self.ours ^= items
                self.theirs ^= items

    @rule()
    def pop(self) -> None:
        if self.theirs:
            self.theirs.remove(self.ours.pop())

    @invariant()
    def same(self) -> None:
        if hasattr(self, "ours"):
            assert self.ours.copy() == self.theirs
            assert len(self.ours) == len(self.theirs)


TestList = ListMachine.TestCase
TestList.settings = FEW
TestDeque = DequeMachine.TestCase
TestDeque.settings = FEW
TestDict = DictMachine.TestCase
TestDict.settings = FEW
TestSet = SetMachine.TestCase
TestSet.settings = FEW
