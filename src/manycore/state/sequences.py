"""What lists and deques have in common.

An item is a record under its position (see `span`): appending, popping at either end and reading by
index touch one of them; inserting and deleting in the middle move the shorter side. Where a list
begins and ends, and so how long it is, is where its records do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, ClassVar, Final

import lmdb

from .encoding import dumps, loads
from .proxy import ID_BYTES, ITEMS, META, Facts, Proxy, erase, keep_proxies
from .space import SMALL
from .span import FIRST, MIDDLE, POSITION, Span, position_key
from .store import Store, scan, transaction
from .writing import Writing

_OVERHEAD: Final = 48  # bytes of a record besides its value


class Sequence(Proxy):
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
            return self.span_in(txn).length

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [loads(data) for data in self._raw()[index]]
        index = as_index(index, self._noun)
        with self._store.reading() as txn:
            position = self.span_in(txn).index(index)
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
            position = self.span_in(txn).index(index)
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

    def _repr(self) -> str:
        return f"<{type(self).__name__} {self._label()!r} {len(self)} items>"

    def append(self, value: Any) -> None:
        """Adds an item at the end."""
        data = self._dumps(value)
        writing = self._store.writing
        if len(data) <= SMALL:
            try:
                with writing.lock, writing.begin() as txn:  # the short way
                    if writing.has_room() and self._append(txn, data):
                        return
            except lmdb.Error:
                pass  # see below
        with writing.lock, writing as txn, txn:
            if len(data) > SMALL or writing.short:
                writing.need(len(data))
            if not self._append(txn, data):
                raise self._gone()

    def _append(self, txn: Any, data: bytes) -> bool:
        """Adds a record at the end, within a transaction; False if the list is gone."""
        items, last = self._items, self._last
        # there is no gap in a list: an item here, and none behind it, is the end
        if (
            last
            and txn.get(items + POSITION.pack(last)) is not None
            and txn.put(items + POSITION.pack(last + 1), data, True, False)  # unless it is there
        ):
            self._last = last + 1
            return True
        cursor = txn.cursor()
        if cursor.set_range(self._end):
            cursor.prev()
        else:
            cursor.last()
        key = cursor.key()
        if key.startswith(items):
            place = POSITION.unpack(key[ID_BYTES + 1 :])[0] + 1
            txn.put(items + POSITION.pack(place), data)
        elif key == self._meta:
            place = MIDDLE
            txn.put(items + FIRST, data)
        else:
            return False
        self._last = place
        return True

    def extend(self, values: Iterable[Any]) -> None:
        """Adds every item of an iterable at the end, in one transaction."""
        data = prepare(self._store, values)
        writing = self._store.writing
        with writing.lock, writing as txn, txn:
            span = self.span_in(txn)
            put_all(writing, self._items, span.end, data)

    def insert(self, index: int, value: Any) -> None:
        """Puts an item before an index; moves the shorter side of the list by one."""
        data = self._dumps(value)
        writing = self._store.writing
        with writing.lock, writing as txn, txn:
            _, shift, free = self.span_in(txn).insert(as_index(index, self._noun))
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
        self.change(lambda items: items.reverse())

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
            span = self.span_in(txn)
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

    def span_in(self, txn: Any) -> Span:
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

    def change(self, function: Callable[[list[bytes]], None]) -> None:
        """Lets a function change the list of all records, and writes what it changed."""
        with transaction(self._store):
            before = self._raw()
            after = list(before)
            function(after)
            writing = self._store.writing
            with writing.lock, writing as txn, txn:
                start = self.span_in(txn).start
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
