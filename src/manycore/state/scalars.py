"""Value, counter and array: small state of one record, or of numbers in chunks."""

from __future__ import annotations

import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import lmdb

from .encoding import dumps, loads
from .proxy import ITEMS, META, Facts, Proxy, keep_proxies
from .sequences import as_index
from .span import position_key
from .store import transaction
from .writing import Writing

_CHUNK: Final = 512  # numbers in one record of an array: reading one costs a copy of its chunk


class ValueProxy(Proxy):
    """One value that processes share; what it holds is a pickled copy.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     best = manager.Value("d", 0.5)
        ...     best.value = 0.75
        ...     best.value
        0.75
    """

    __slots__ = ("_typecode",)
    kind: ClassVar[str] = "Value"

    def _use(self, facts: Facts) -> None:
        self._typecode = facts["typecode"]

    def _facts(self) -> Facts:
        return {"typecode": self._typecode}

    @classmethod
    def fill(cls, writing: Writing, number: bytes, *begin: Any) -> None:
        """Writes the value that a new one begins with."""
        writing.need(len(begin[0]))
        writing.txn.put(number + META, begin[0])

    @property
    def value(self) -> Any:
        """The value; `value += 1` reads and writes it in two steps: see `edit` and `counter`."""
        return loads(self._read_meta())

    @value.setter
    def value(self, value: Any) -> None:
        data = self._dumps(value)
        with self._store.writing.lock, self._store.writing as txn, txn:
            self._meta_in(txn)
            self._store.writing.need(len(data))
            txn.put(self._meta, data)

    def get(self) -> Any:
        """Gives the value."""
        return self.value

    def set(self, value: Any) -> None:
        """Sets the value."""
        self.value = value

    @contextmanager
    def edit(self) -> Iterator[Any]:
        """Gives a copy of the value to change in place, and writes it back, in one transaction."""
        with transaction(self._store):
            value = self.value
            yield value
            self.value = value

    def _repr(self) -> str:
        return f"ValueProxy({self._typecode!r}, {self.value!r})"


class Counter(Proxy):
    """A whole number that processes count with; no update is ever lost.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     hits = manager.counter("hits")
        ...     hits.add(), hits.add(10), hits.get()
        (1, 11, 11)
    """

    __slots__ = ()
    kind: ClassVar[str] = "counter"

    @classmethod
    def fill(cls, writing: Writing, number: bytes, *begin: Any) -> None:
        """Writes what a new counter begins with."""
        writing.txn.put(number + META, b"%x" % begin[0])

    def add(self, amount: int = 1) -> int:
        """Adds to it, and gives what it is then."""
        if type(amount) is not int:
            amount = _whole(amount)
        key = self._meta
        writing = self._store.writing
        try:  # the short way
            with writing.lock, writing.begin() as txn:
                old = txn.get(key)
                if old is not None and writing.has_room():
                    value = int(old, 16) + amount
                    txn.put(key, b"%x" % value)
                    return value
        except lmdb.Error:
            pass  # see below
        with writing.lock, writing as txn, txn:
            value = int(self._meta_in(txn), 16) + amount
            if writing.short:
                writing.need(1)
            txn.put(key, b"%x" % value)
        return value

    def get(self) -> int:
        """Gives what it is."""
        return int(self._read_meta(), 16)

    def set(self, value: int) -> None:
        """Sets it, and forgets what was counted."""
        number = _whole(value)
        with self._store.writing.lock, self._store.writing as txn, txn:
            self._meta_in(txn)
            txn.put(self._meta, b"%x" % number)

    @property
    def value(self) -> int:
        """What it is."""
        return self.get()

    def __int__(self) -> int:
        return self.get()

    def _repr(self) -> str:
        return f"<Counter {self._label()!r} {self.get()}>"


class ArrayProxy(Proxy):
    """Numbers of one type that processes share; its length stays as it was made.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     row = manager.Array("i", [3, 1, 2])
        ...     row[1] = 7
        ...     row[:], len(row)
        ([3, 7, 2], 3)
    """

    __slots__ = ("_typecode",)
    kind: ClassVar[str] = "Array"

    def _use(self, facts: Facts) -> None:
        self._typecode = facts["typecode"]

    def _facts(self) -> Facts:
        return {"typecode": self._typecode}

    @classmethod
    def fill(cls, writing: Writing, number: bytes, *begin: Any) -> None:
        """Writes the numbers that a new array begins with."""
        numbers: array.array[Any] = begin[0]
        writing.need(len(numbers) * numbers.itemsize)
        writing.txn.put(number + META, b"%x" % len(numbers))
        for first in range(0, len(numbers), _CHUNK):
            key = number + ITEMS + position_key(first // _CHUNK)
            writing.txn.put(key, numbers[first : first + _CHUNK].tobytes())

    def __len__(self) -> int:
        return int(self._read_meta(), 16)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._numbers()[index].tolist()
        with self._store.reading() as txn:
            chunk, place = self._locate(txn, as_index(index, "array"), "array index out of range")
        return chunk[place]

    def __setitem__(self, index: Any, value: Any) -> None:
        writing = self._store.writing
        if isinstance(index, slice):
            self._set_slice(index, value)
            return
        problem = "array assignment index out of range"
        with writing.lock, writing as txn, txn:
            index = as_index(index, "array")
            chunk, place = self._locate(txn, index, problem)
            chunk[place] = value
            writing.need(len(chunk) * chunk.itemsize)
            number = index % int(self._meta_in(txn), 16) // _CHUNK
            txn.put(self._items + position_key(number), chunk.tobytes())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._numbers())

    def _repr(self) -> str:
        return f"array({self._typecode!r}, {self._numbers().tolist()!r})"

    def _locate(self, txn: Any, index: int, problem: str) -> tuple[array.array[Any], int]:
        length = int(self._meta_in(txn), 16)
        if not -length <= index < length:
            raise IndexError(problem)
        number, place = divmod(index % length, _CHUNK)
        chunk: array.array[Any] = array.array(self._typecode)
        chunk.frombytes(txn.get(self._items + position_key(number)))
        return chunk, place

    def _numbers(self) -> array.array[Any]:
        numbers: array.array[Any] = array.array(self._typecode)
        found = self._store.items(self._items)
        if not found:
            self._read_meta()
        for _, data in found:
            numbers.frombytes(data)
        return numbers

    def _set_slice(self, index: slice, values: Iterable[Any]) -> None:
        given = array.array(self._typecode, values)
        with transaction(self._store):
            numbers = self._numbers()
            length = len(numbers)
            numbers[index] = given
            if len(numbers) != length:
                raise ValueError(f"an array of {length} numbers cannot become {len(numbers)}")
            self.fill(self._store.writing, self._number, numbers)


def _whole(amount: Any) -> int:
    """Reads a number that a counter takes."""
    try:
        number: int = amount.__index__()
    except AttributeError:
        kind = type(amount).__name__
        raise TypeError(f"a counter takes whole numbers, not {kind}") from None
    return number


def value_bytes(store: Any, value: Any) -> bytes:
    """Turns the value that a new `Value` begins with into bytes."""
    data = dumps(value)
    keep_proxies(store, data)
    return data


def array_of(typecode: str, begin: Any) -> array.array[Any]:
    """Makes the numbers that a new array begins with: a length gives zeros.

    Raises:
        ValueError: There is no such type code.
        TypeError: One of them is not of the type.
    """
    if isinstance(begin, int):
        return array.array(typecode, bytes(array.array(typecode).itemsize * begin))
    return array.array(typecode, begin)
