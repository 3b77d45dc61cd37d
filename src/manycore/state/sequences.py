"""List and deque.

An item is a record under its position (see `span`): appending, popping at either end and reading by
index touch one of them; inserting and deleting in the middle move the shorter side. Where a list
begins and ends, and so how long it is, is where its records do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, ClassVar, Final, Self, overload

import lmdb

from .encoding import dumps, loads
from .proxy import ID_BYTES, ITEMS, META, Facts, Proxy, erase, keep_proxies
from .space import SMALL
from .span import FIRST, POSITION, Span, position_key
from .store import Store, scan, transaction
from .writing import Writing

_OVERHEAD: Final = 48  # bytes of a record besides its value


class _Sequence(Proxy):
    """What lists and deques have in common."""

    __slots__ = ("_end", "_last")
    _noun: ClassVar[str] = "sequence"

    def _use(self, facts: Facts) -> None:
        del facts
        self._end = self._number + bytes((ITEMS[0] + 1,))
        self._last = 0  # where this proxy appended last, as it is stored; 0: not yet

    @classmethod
    def fill(cls, writing: Writing, number: bytes, *begin: Any) -> None:
        """Writes the items that a new one begins with."""
        data = begin[0] if begin else []
        put_all(writing, number + ITEMS, 0, data)
        writing.txn.put(number + META, b"")

    def __len__(self) -> int:
        with self._store.reading() as txn:
            return self._span(txn).length

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [loads(data) for data in self._raw()[index]]
        index = as_index(index, self._noun)
        with self._store.reading() as txn:
            position = self._span(txn).index(index)
            data = None if position is None else txn.get(self._items + position_key(position))
        if data is None:
            raise IndexError(f"{self._noun} index out of range")
        return loads(data)

    def __setitem__(self, index: Any, value: Any) -> None:
        index = as_index(index, self._noun)
        data = self._dumps(value)
        writing = self._store.writing
        with writing.lock, writing as txn, txn:
            if len(data) > SMALL or writing.short:
                writing.need(len(data))
            position = self._span(txn).index(index)
            if position is None:
                raise IndexError(f"{self._noun} assignment index out of range")
            txn.put(self._items + position_key(position), data)

    def __delitem__(self, index: Any) -> None:
        self._pop(as_index(index, self._noun), f"{self._noun} assignment index out of range")

    def __contains__(self, value: object) -> bool:
        return value in list(self)

    def __iter__(self) -> Iterator[Any]:
        return iter([loads(data) for data in self._raw()])

    def __reversed__(self) -> Iterator[Any]:
        return iter(list(self)[::-1])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._label()!r} {len(self)} items>"

    def append(self, value: Any) -> None:
        """Adds an item at the end."""
        data = self._dumps(value)
        writing = self._store.writing
        if self._last and len(data) <= SMALL:  # the short way: nobody else has been here
            last, items = self._last, self._items
            try:
                with writing.lock, writing.begin(None, None, True) as txn:
                    # there is no gap in a list: a last item, and none behind it
                    if txn.get(items + POSITION.pack(last)) is not None and writing.has_room():
                        place = items + POSITION.pack(last + 1)
                        if txn.put(place, data, True, False):  # unless it is there
                            self._last = last + 1
                            return
            except lmdb.Error:
                pass  # see below
        with writing.lock, writing as txn, txn:
            if len(data) > SMALL or writing.short:
                writing.need(len(data))
            cursor = txn.cursor()
            if cursor.set_range(self._end):
                cursor.prev()
            else:
                cursor.last()
            last_key = cursor.key()
            if last_key.startswith(self._items):
                self._last = POSITION.unpack(last_key[ID_BYTES + 1 :])[0] + 1
                txn.put(self._items + POSITION.pack(self._last), data)
            elif last_key == self._meta:
                txn.put(self._items + FIRST, data)
            else:
                raise self._gone()

    def extend(self, values: Iterable[Any]) -> None:
        """Adds every item of an iterable at the end, in one transaction."""
        data = prepare(self._store, values)
        writing = self._store.writing
        with writing.lock, writing as txn, txn:
            span = self._span(txn)
            put_all(writing, self._items, span.end, data)

    def insert(self, index: int, value: Any) -> None:
        """Puts an item before an index; moves the shorter side of the list by one."""
        data = self._dumps(value)
        writing = self._store.writing
        with writing.lock, writing as txn, txn:
            _, shift, free = self._span(txn).insert(as_index(index, self._noun))
            moved = self._read(txn, shift.positions)
            writing.need(len(data) + sum(map(len, moved)) + _OVERHEAD * len(moved))
            for position, item in zip(shift.positions, moved, strict=True):
                txn.put(self._items + position_key(position + shift.by), item)
            txn.put(self._items + position_key(free), data)

    def pop(self, index: int = -1) -> Any:
        """Removes an item, by default the last, and gives it.

        Raises:
            IndexError: There is none.
        """
        return loads(self._pop(as_index(index, self._noun), "pop index out of range"))

    def remove(self, value: Any) -> None:
        """Removes the first item that equals a value.

        Raises:
            ValueError: There is none.
        """
        with transaction(self._store):
            self._pop(self.index(value), "")

    def clear(self) -> None:
        """Removes every item."""
        with self._store.writing.lock, self._store.writing as txn, txn:
            self._meta_in(txn)
            erase(txn, self._items)

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """Gives the index of the first item that equals a value.

        Raises:
            ValueError: There is none.
        """
        items = list(self)
        return items.index(value, start, len(items) if stop is None else stop)

    def count(self, value: Any) -> int:
        """Counts the items that equal a value."""
        return list(self).count(value)

    def reverse(self) -> None:
        """Turns the order round, in one transaction."""
        self._change(lambda items: items.reverse())

    @contextmanager
    def edit(self, index: int) -> Iterator[Any]:
        """Gives a copy of an item to change in place, and writes it back, in one transaction.

        Raises:
            IndexError: There is no such item.
        """
        with transaction(self._store):
            value = self[index]
            yield value
            self[index] = value

    def _pop(self, index: int, problem: str) -> bytes:
        """Removes one item, and gives its record."""
        writing = self._store.writing
        with writing.lock, writing as txn, txn:
            span = self._span(txn)
            position = span.index(index)
            if position is None:
                raise IndexError(problem if span.length else f"pop from empty {self._noun}")
            data: bytes = txn.get(self._items + position_key(position))
            _, shift, last = span.delete(position)
            moved = self._read(txn, shift.positions)
            for at, item in zip(shift.positions, moved, strict=True):
                txn.put(self._items + position_key(at + shift.by), item)
            txn.delete(self._items + position_key(last))
        return data

    def _span(self, txn: Any) -> Span:
        """Finds where the list begins and ends."""
        cursor = txn.cursor()
        if cursor.set_range(self._items):
            first = cursor.key()
            if first.startswith(self._items):
                if cursor.set_range(self._end):
                    cursor.prev()
                else:
                    cursor.last()
                return Span.between(first[ID_BYTES + 1 :], cursor.key()[ID_BYTES + 1 :])
        self._meta_in(txn)
        return Span(0, 0)

    def _read(self, txn: Any, positions: range) -> list[bytes]:
        if len(positions) == 0:
            return []
        low, high = min(positions[0], positions[-1]), max(positions[0], positions[-1])
        found = scan(txn, self._items, self._items + position_key(low))
        items = [data for _, data in islice(found, high - low + 1)]
        return items if positions.step > 0 else items[::-1]

    def _raw(self) -> list[bytes]:
        found = self._store.items(self._items)
        if not found:
            self._read_meta()
        return [data for _, data in found]

    def _change(self, function: Callable[[list[bytes]], None]) -> None:
        """Lets a function change the list of all records, and writes what it changed."""
        with transaction(self._store):
            before = self._raw()
            after = list(before)
            function(after)
            writing = self._store.writing
            with writing.lock, writing as txn, txn:
                start = self._span(txn).start
                changed = [
                    (position, item)
                    for position, item in enumerate(after)
                    if position >= len(before) or before[position] is not item
                ]
                writing.need(sum(len(item) + _OVERHEAD for _, item in changed))
                for position, item in changed:
                    txn.put(self._items + position_key(start + position), item)
                for position in range(len(after), len(before)):
                    txn.delete(self._items + position_key(start + position))


class ListProxy(_Sequence):
    """A list that processes share. Items are pickled copies.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     names = manager.list(["eve", "bob"])
        ...     names.append("ann")
        ...     names.sort()
        ...     names[0], names[1:], len(names)
        ('ann', ['bob', 'eve'], 3)
    """

    __slots__ = ()
    kind: ClassVar[str] = "list"
    _noun: ClassVar[str] = "list"

    @overload
    def __setitem__(self, index: int, value: Any) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[Any]) -> None: ...
    def __setitem__(self, index: int | slice, value: Any) -> None:
        if not isinstance(index, slice):
            super().__setitem__(index, value)
            return
        data = prepare(self._store, value)
        self._change(lambda items: items.__setitem__(index, data))

    def __delitem__(self, index: int | slice) -> None:
        if isinstance(index, slice):
            self._change(lambda items: items.__delitem__(index))
        else:
            super().__delitem__(index)

    def __str__(self) -> str:
        return str(list(self))

    def __add__(self, other: Any) -> list[Any]:
        return list(self) + (list(other) if isinstance(other, ListProxy) else other)

    def __radd__(self, other: list[Any]) -> list[Any]:
        return other + list(self)

    def __mul__(self, times: int) -> list[Any]:
        return list(self) * times

    __rmul__ = __mul__

    def __iadd__(self, values: Iterable[Any]) -> Self:  # type: ignore[misc]  # a list's + gives a list
        self.extend(values)
        return self

    def __imul__(self, times: int) -> Self:
        def repeat(items: list[bytes]) -> None:
            items *= times

        self._change(repeat)
        return self

    def copy(self) -> list[Any]:
        """Gives a builtin list of what there is at this moment."""
        return list(self)

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        """Sorts the items in place, in one transaction; every writer waits meanwhile."""

        def by(data: bytes) -> Any:
            return loads(data) if key is None else key(loads(data))

        self._change(lambda items: items.sort(key=by, reverse=reverse))


class DequeProxy(_Sequence):
    """A deque that processes share, of at most `maxlen` items. Items are pickled copies.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     recent = manager.deque([1, 2, 3], maxlen=3)
        ...     recent.append(4)
        ...     recent.popleft(), list(recent)
        (2, [3, 4])
    """

    __slots__ = ("_maxlen",)
    kind: ClassVar[str] = "deque"
    _noun: ClassVar[str] = "deque"

    def _use(self, facts: Facts) -> None:
        super()._use(facts)
        self._maxlen: int | None = facts["maxlen"]

    def _facts(self) -> Facts:
        return {"maxlen": self._maxlen}

    @property
    def maxlen(self) -> int | None:
        """How many items it holds at most: one more at one end lets one go at the other."""
        return self._maxlen

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            raise TypeError("sequence index must be integer, not 'slice'")
        return super().__getitem__(index)

    def __str__(self) -> str:
        return (
            f"deque({list(self)!r}"
            + ("" if self._maxlen is None else f", maxlen={self._maxlen}")
            + ")"
        )

    def __iadd__(self, values: Iterable[Any]) -> Self:
        self.extend(values)
        return self

    def append(self, value: Any) -> None:
        """Adds an item at the right; a full deque loses its leftmost."""
        self.extend((value,))

    def appendleft(self, value: Any) -> None:
        """Adds an item at the left; a full deque loses its rightmost."""
        self.extendleft((value,))

    def extend(self, values: Iterable[Any]) -> None:
        """Adds every item of an iterable at the right, in one transaction."""
        data = prepare(self._store, values)
        writing = self._store.writing
        with writing.lock, writing as txn, txn:
            span = self._span(txn)
            put_all(writing, self._items, span.end, data)
            self._fit(txn, Span(span.start, span.length + len(data)), left=True)

    def extendleft(self, values: Iterable[Any]) -> None:
        """Adds every item of an iterable at the left, one after another, in one transaction."""
        data = prepare(self._store, values)[::-1]
        writing = self._store.writing
        with writing.lock, writing as txn, txn:
            span = self._span(txn)
            put_all(writing, self._items, span.start - len(data), data)
            longer = Span(span.start - len(data), span.length + len(data))
            self._fit(txn, longer, left=False)

    def insert(self, index: int, value: Any) -> None:
        """Puts an item before an index.

        Raises:
            IndexError: The deque is full.
        """
        with transaction(self._store):
            if len(self) == self._maxlen:
                raise IndexError("deque already at its maximum size")
            super().insert(index, value)

    def popleft(self) -> Any:
        """Removes the leftmost item, and gives it.

        Raises:
            IndexError: The deque is empty.
        """
        return loads(self._pop(0, ""))

    def pop(self) -> Any:  # type: ignore[override]  # as collections.deque has it
        """Removes the rightmost item, and gives it.

        Raises:
            IndexError: The deque is empty.
        """
        return loads(self._pop(-1, ""))

    def rotate(self, n: int = 1) -> None:
        """Moves `n` items from the right end to the left one, in one transaction."""

        def turn(items: list[bytes]) -> None:
            if items:
                cut = -n % len(items)
                items[:] = items[cut:] + items[:cut]

        self._change(turn)

    def copy(self) -> list[Any]:
        """Gives a builtin list of what there is at this moment."""
        return list(self)

    def _fit(self, txn: Any, span: Span, *, left: bool) -> None:
        surplus = 0 if self._maxlen is None else max(0, span.length - self._maxlen)
        first = span.start if left else span.end - surplus
        for position in range(first, first + surplus):
            txn.delete(self._items + position_key(position))


def as_index(index: Any, noun: str) -> int:
    """Reads an index as the builtin does."""
    try:
        number: int = index.__index__()
    except AttributeError:
        kind = type(index).__name__
        raise TypeError(f"{noun} indices must be integers or slices, not {kind}") from None
    return number


def prepare(store: Store, values: Iterable[Any]) -> list[bytes]:
    """Turns values into bytes.

    Raises:
        TypeError: One of them cannot be; nothing was written.
    """
    data = [dumps(value) for value in values]
    for item in data:
        keep_proxies(store, item)
    return data


def put_all(writing: Writing, prefix: bytes, first: int, data: list[bytes]) -> None:
    """Puts records at positions that follow one another, within a transaction."""
    writing.need(sum(map(len, data)) + _OVERHEAD * len(data))
    put = writing.txn.put
    for position, item in enumerate(data, first):
        put(prefix + position_key(position), item)
