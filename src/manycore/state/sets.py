"""A set that processes share."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Final

from .encoding import decode_key, encode_key
from .proxy import ID_BYTES, ITEMS, META, Proxy, erase
from .store import transaction
from .writing import Writing

_COUNT = struct.Struct(">Q")
_OVERHEAD: Final = 48  # bytes of a record besides its item


class SetProxy(Proxy):
    """A set that processes share. Items are pickled copies.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     seen = manager.set({1, 2})
        ...     seen.add(3), seen.add(3)
        ...     1 in seen, len(seen), sorted(seen - {2})
        (True, False)
        (True, 3, [1, 3])
    """

    __slots__ = ()
    kind: ClassVar[str] = "set"

    @classmethod
    def fill(cls, writing: Writing, number: bytes, *begin: Any) -> None:
        """Writes the items that a new set begins with."""
        writing.txn.put(number + META, _COUNT.pack(0))
        _put(writing, number, begin[0] if begin else {})

    def __len__(self) -> int:
        count: int = _COUNT.unpack(self._read_meta())[0]
        return count

    def __contains__(self, item: Any) -> bool:
        return self._store.get(self._items + encode_key(item)[0]) is not None

    def __iter__(self) -> Iterator[Any]:
        return iter(self.copy())

    def _repr(self) -> str:
        return f"<SetProxy {self._label()!r} {len(self)} items>"

    def _str(self) -> str:
        return str(self.copy())

    def copy(self) -> set[Any]:
        """Gives a builtin set of what there is at this moment."""
        found = self._store.items(self._items)
        if not found:
            self._read_meta()
        return {decode_key(key[ID_BYTES + 1 :], exact or None) for key, exact in found}

    def add(self, item: Any) -> bool:
        """Adds an item; says whether it was new, so that only one of many processes takes it."""
        return self._add_all((item,)) > 0

    def update(self, *others: Iterable[Any]) -> None:
        """Adds every item of the others, in one transaction."""
        self._add_all(item for other in others for item in other)

    def discard(self, item: Any) -> bool:
        """Removes an item if it is there; says whether it was."""
        return self._remove_all((item,)) > 0

    def remove(self, item: Any) -> None:
        """Removes an item.

        Raises:
            KeyError: It is not there.
        """
        if not self.discard(item):
            raise KeyError(item)

    def pop(self) -> Any:
        """Removes any item, and gives it.

        Raises:
            KeyError: The set is empty.
        """
        with self._store.writing.lock, self._store.writing as txn, txn:
            count = _COUNT.unpack(self._meta_in(txn))[0]
            cursor = txn.cursor()
            if not cursor.set_range(self._items) or not cursor.key().startswith(self._items):
                raise KeyError("pop from an empty set")
            key, exact = cursor.item()
            cursor.delete()
            txn.put(self._meta, _COUNT.pack(count - 1))
        return decode_key(key[ID_BYTES + 1 :], exact or None)

    def clear(self) -> None:
        """Removes every item."""
        with self._store.writing.lock, self._store.writing as txn, txn:
            self._meta_in(txn)
            erase(txn, self._items)
            txn.put(self._meta, _COUNT.pack(0))

    def difference_update(self, *others: Iterable[Any]) -> None:
        """Removes every item of the others, in one transaction."""
        self._remove_all(item for other in others for item in other)

    def intersection_update(self, *others: Iterable[Any]) -> None:
        """Removes every item that is not in all of the others, in one transaction."""
        wanted = [set(other) for other in others]
        with transaction(self._store):
            here = self.copy()
            self._remove_all(here - here.intersection(*wanted))

    def symmetric_difference_update(self, other: Iterable[Any]) -> None:
        """Keeps what is in one of the two and not in both, in one transaction."""
        wanted = set(other)
        with transaction(self._store):
            here = self.copy()
            self._remove_all(here & wanted)
            self._add_all(wanted - here)

    def union(self, *others: Iterable[Any]) -> set[Any]:
        """Gives a builtin set of what is here or in any of the others."""
        return self.copy().union(*others)

    def intersection(self, *others: Iterable[Any]) -> set[Any]:
        """Gives a builtin set of what is here and in all of the others."""
        return self.copy().intersection(*others)

    def difference(self, *others: Iterable[Any]) -> set[Any]:
        """Gives a builtin set of what is here and in none of the others."""
        return self.copy().difference(*others)

    def symmetric_difference(self, other: Iterable[Any]) -> set[Any]:
        """Gives a builtin set of what is in one of the two and not in both."""
        return self.copy().symmetric_difference(other)

    def issubset(self, other: Iterable[Any]) -> bool:
        """Whether every item of this set is in the other."""
        return self.copy().issubset(other)

    def issuperset(self, other: Iterable[Any]) -> bool:
        """Whether every item of the other is in this set."""
        return self.copy().issuperset(other)

    def isdisjoint(self, other: Iterable[Any]) -> bool:
        """Whether nothing is in both."""
        return self.copy().isdisjoint(other)

    def __or__(self, other: Any) -> set[Any]:
        result: set[Any] = self.copy() | _builtin(other)
        return result

    def __and__(self, other: Any) -> set[Any]:
        result: set[Any] = self.copy() & _builtin(other)
        return result

    def __sub__(self, other: Any) -> set[Any]:
        result: set[Any] = self.copy() - _builtin(other)
        return result

    def __xor__(self, other: Any) -> set[Any]:
        result: set[Any] = self.copy() ^ _builtin(other)
        return result

    __ror__ = __or__
    __rand__ = __and__
    __rxor__ = __xor__

    def __rsub__(self, other: Any) -> set[Any]:
        difference: set[Any] = _builtin(other) - self.copy()
        return difference

    def __ior__(self, other: Any) -> SetProxy:  # noqa: PYI034  # the proxy itself
        self.update(_builtin(other))
        return self

    def __iand__(self, other: Any) -> SetProxy:  # noqa: PYI034
        self.intersection_update(_builtin(other))
        return self

    def __isub__(self, other: Any) -> SetProxy:  # noqa: PYI034
        self.difference_update(_builtin(other))
        return self

    def __ixor__(self, other: Any) -> SetProxy:  # noqa: PYI034
        self.symmetric_difference_update(_builtin(other))
        return self

    def _add_all(self, items: Iterable[Any]) -> int:
        encoded = dict(encode_key(item) for item in items)
        with self._store.writing.lock, self._store.writing as txn, txn:
            self._meta_in(txn)
            return _put(self._store.writing, self._number, encoded)

    def _remove_all(self, items: Iterable[Any]) -> int:
        names = {encode_key(item)[0] for item in items}
        with self._store.writing.lock, self._store.writing as txn, txn:
            count = _COUNT.unpack(self._meta_in(txn))[0]
            removed: int = sum(txn.delete(self._items + name) for name in names)
            if removed:
                txn.put(self._meta, _COUNT.pack(count - removed))
        return removed


def _builtin(other: Any) -> Any:
    return other.copy() if isinstance(other, SetProxy) else other


def _put(writing: Writing, number: bytes, encoded: dict[bytes, bytes | None]) -> int:
    txn = writing.txn
    size = sum(len(name) + len(exact or b"") + _OVERHEAD for name, exact in encoded.items())
    writing.need(size)
    put = txn.put
    added: int = sum(
        put(number + ITEMS + name, exact or b"", overwrite=False) for name, exact in encoded.items()
    )
    if added:
        count = _COUNT.unpack(txn.get(number + META))[0]
        txn.put(number + META, _COUNT.pack(count + added))
    return added
