"""A dict that processes share. Its records are its items, by the key's bytes: see `items`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import lmdb

from .encoding import SHORT, decode_key, encode_key, loads
from .items import COUNTS, TIMES, drop_item, prepare, put_item, put_items, time_key
from .proxy import ID_BYTES, META, Facts, Proxy, erase
from .records import TAIL, expiry, is_expired, order, original
from .space import SMALL
from .store import scan, transaction
from .writing import Writing

_EMPTY: Final = COUNTS.pack(0, 0)
_LEAST_TTL: Final = 1e-3  # seconds left to an item whose time ended while it was edited
_LONGEST_TTL: Final = 1e12  # seconds, 30,000 years: the index counts microseconds in 64 bits
_MISSING: Final = object()


class DictProxy(Proxy):
    """A dict that processes share. Keys and values are pickled copies.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     ages = manager.dict(ann=31)
        ...     ages["bob"] = 27
        ...     ages.compute("ann", lambda age: age + 1)
        ...     sorted(ages.items())
        32
        [('ann', 32), ('bob', 27)]
    """

    __slots__ = ("_texts", "_times")
    kind: ClassVar[str] = "dict"

    def _use(self, facts: Facts) -> None:
        del facts
        self._times = self._number + TIMES
        self._texts = self._items + b"s"  # what the keys of text begin with

    @classmethod
    def fill(cls, writing: Writing, number: bytes, *begin: Any) -> None:
        """Writes the items that a new dict begins with."""
        writing.txn.put(number + META, _EMPTY)
        if begin and begin[0]:
            put_items(writing, writing.txn, number, begin[0])

    def __getitem__(self, key: Any) -> Any:
        # a short text key is encoded here: this is what dicts are used for
        if type(key) is str and len(key) <= SHORT and key.isascii():
            record = self._store.get(self._texts + key.encode())
        else:
            record = self._store.get(self._items + encode_key(key)[0])
        if record is None or (record[-1] > 1 and is_expired(record, time.time())):
            return self._missing(key)
        return loads(record)

    def _missing(self, key: Any) -> Any:
        self._read_meta()  # it may be gone altogether
        raise KeyError(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        if type(key) is str and len(key) <= SHORT and key.isascii():  # as in __getitem__
            name, exact = b"s" + key.encode(), None
        else:
            name, exact = encode_key(key)
        data = self._dumps(value)
        writing = self._store.writing
        if len(data) <= SMALL:  # the short way
            record = self._items + name
            try:
                with writing.lock, writing.begin() as txn:
                    if writing.has_room():
                        old = txn.get(record)
                        if old is not None and not old[-1]:  # it is there, and nothing is special
                            txn.put(record, data + old[-TAIL:])
                        else:
                            put_item(writing, txn, self._number, name, data, exact)
                        return
            except lmdb.Error:
                pass  # see below
        with writing.lock, writing as txn, txn:
            if len(data) > SMALL or writing.short:
                writing.need(len(data))
            put_item(writing, txn, self._number, name, data, exact)

    def __delitem__(self, key: Any) -> None:
        self._take(key)

    def __contains__(self, key: Any) -> bool:
        return self._live(encode_key(key)[0]) is not None

    def __len__(self) -> int:
        count, timed = COUNTS.unpack(self._read_meta())
        if timed:
            self._drop_expired()
            count, _ = COUNTS.unpack(self._read_meta())
        length: int = count
        return length

    def __iter__(self) -> Iterator[Any]:
        return iter(self.keys())

    def __reversed__(self) -> Iterator[Any]:
        return iter(self.keys()[::-1])

    def _repr(self) -> str:
        return f"<DictProxy {self._label()!r} {len(self)} items>"

    def _str(self) -> str:
        return str(self.copy())

    def __or__(self, other: Any) -> dict[Any, Any]:
        copied = self.copy()
        return copied | (other.copy() if isinstance(other, DictProxy) else other)

    def __ror__(self, other: dict[Any, Any]) -> dict[Any, Any]:
        return other | self.copy()

    def __ior__(self, other: Any) -> DictProxy:  # noqa: PYI034  # the proxy itself
        self.update(other)
        return self

    def get(self, key: Any, default: Any = None) -> Any:
        """Gives a key's value, or the default."""
        record = self._store.get(self._items + encode_key(key)[0])
        if record is None or (record[-1] > 1 and is_expired(record, time.time())):
            return default
        return loads(record)

    def put(self, key: Any, value: Any, ttl: float | None = None) -> None:
        """Sets a key, for a while.

        Args:
            key: The key.
            value: Its value.
            ttl: Seconds after which the key is gone; None, or infinity: it stays. Setting it
                again, by whichever method, forgets an earlier time.

        Raises:
            ValueError: When `ttl` is not above 0.
        """
        if ttl is not None and not ttl > 0:
            raise ValueError(f"ttl={ttl!r} is not above 0")
        name, exact = encode_key(key)
        data = self._dumps(value)
        expires = None if ttl is None or ttl > _LONGEST_TTL else time.time() + ttl
        if expires is not None:
            self._drop_expired()
        writing = self._store.writing
        with writing.lock, writing as txn, txn:
            if len(data) > SMALL or writing.short:
                writing.need(len(data))
            put_item(writing, txn, self._number, name, data, exact, expires)

    def ttl(self, key: Any) -> float | None:
        """Gives the seconds that a key still has; None if it has no end.

        Raises:
            KeyError: There is no such key, or no longer.
        """
        record = self._live(encode_key(key)[0])
        if record is None:
            return self._missing_ttl(key)
        moment = expiry(record)
        return None if moment is None else moment - time.time()

    def _missing_ttl(self, key: Any) -> float | None:
        raise KeyError(key)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Gives a key's value; if it has none, sets the default and gives that."""
        name, exact = encode_key(key)
        record = self._live(name)
        if record is not None:
            return loads(record)
        data = self._dumps(default)
        writing = self._store.writing
        with writing.lock, writing as txn, txn:
            record = txn.get(self._items + name)
            if record is None or is_expired(record, time.time()):
                if len(data) > SMALL or writing.short:
                    writing.need(len(data))
                put_item(writing, txn, self._number, name, data, exact)
                return default
        return loads(record)

    def pop(self, key: Any, default: Any = _MISSING) -> Any:
        """Removes a key and gives its value, or the default.

        Raises:
            KeyError: There is no such key, and no default.
        """
        try:
            return loads(self._take(key))
        except KeyError:
            if default is _MISSING:
                raise
            return default

    def popitem(self) -> tuple[Any, Any]:
        """Removes the item that was put last, and gives it. Looks at every item to find it."""
        now = time.time()
        with self._store.writing.lock, self._store.writing as txn, txn:
            items = scan(txn, self._items)
            live = ((order(r), k, r) for k, r in items if not is_expired(r, now))
            _, key, record = max(live, default=(b"", b"", b""))
            if not key:
                raise KeyError("popitem(): dictionary is empty")
            drop_item(txn, self._number, key, record)
        return decode_key(key[ID_BYTES + 1 :], original(record)), loads(record)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Sets every key of a mapping, of pairs, and of the keywords, in one transaction."""
        items = prepare(self._store, as_items(args, kwargs))
        if items:
            with self._store.writing.lock, self._store.writing as txn, txn:
                put_items(self._store.writing, txn, self._number, items)

    def clear(self) -> None:
        """Removes every item."""
        with self._store.writing.lock, self._store.writing as txn, txn:
            self._meta_in(txn)
            erase(txn, self._items)
            erase(txn, self._times)
            txn.put(self._meta, _EMPTY)

    def copy(self) -> dict[Any, Any]:
        """Gives a builtin dict of what there is at this moment."""
        return dict(self.items())

    def keys(self) -> list[Any]:
        """Lists the keys, as they were put."""
        return [_key_of(key, record) for key, record in self._records()]

    def values(self) -> list[Any]:
        """Lists the values, as their keys were put."""
        return [loads(record) for _, record in self._records()]

    def items(self) -> list[tuple[Any, Any]]:
        """Lists keys and values, as they were put."""
        return [(_key_of(key, record), loads(record)) for key, record in self._records()]

    def compute(self, key: Any, function: Callable[[Any], Any], default: Any = None) -> Any:
        """Replaces a value by what a function makes of it, while nobody else can write.

        Args:
            key: The key.
            function: Takes the value, or the default; what it gives is stored. It should be quick,
                since every writer of this manager waits meanwhile. When it raises, nothing changes.
            default: What the function takes when there is no such key.

        Returns:
            The new value.
        """
        with transaction(self._store):
            value = function(self.get(key, default))
            self[key] = value
        return value

    @contextmanager
    def edit(self, key: Any) -> Iterator[Any]:
        """Gives a copy of a value to change in place, and writes it back, in one transaction.

        Raises:
            KeyError: There is no such key.

        Example:
            >>> from manycore import Manager
            >>> with Manager() as manager:
            ...     shelf = manager.dict(fruit=["fig"])
            ...     with shelf.edit("fruit") as fruit:
            ...         fruit.append("pear")
            ...     shelf["fruit"]
            ['fig', 'pear']
        """
        with transaction(self._store):
            value = self[key]
            expires = self.ttl(key)
            yield value
            self.put(key, value, None if expires is None else max(expires, _LEAST_TTL))

    def _live(self, name: bytes) -> bytes | None:
        record = self._store.get(self._items + name)
        return None if record is None or is_expired(record, time.time()) else record

    def _records(self) -> list[tuple[bytes, bytes]]:
        now = time.time()
        found = self._store.items(self._items)
        if not found:
            self._read_meta()
        live = [item for item in found if item[1][-1] <= 1 or not is_expired(item[1], now)]
        live.sort(key=_place)
        return live

    def _take(self, key: Any) -> bytes:
        """Removes a key, and gives its record."""
        name = self._items + encode_key(key)[0]
        with self._store.writing.lock, self._store.writing as txn, txn:
            record: bytes | None = txn.get(name)
            if record is None:
                self._meta_in(txn)
                raise KeyError(key)
            expired = is_expired(record, time.time())
            drop_item(txn, self._number, name, record)
        if expired:
            raise KeyError(key)
        return record

    def _drop_expired(self) -> None:
        """Removes the items whose time has come."""
        now = time_key(self._number, time.time(), b"")
        with self._store.reading() as txn:
            first = next(scan(txn, self._times), None)
        if first is None or first[0] > now:
            return
        with self._store.writing.lock, self._store.writing as txn, txn:
            for index, name in list(scan(txn, self._times)):
                if index > now:
                    break
                record = txn.get(self._items + name)
                if record is not None:
                    drop_item(txn, self._number, self._items + name, record)


def as_items(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[Any, Any]:
    """Reads the arguments of `dict` and `dict.update`; proxies of dicts will do too."""
    if args and isinstance(args[0], DictProxy):
        args = (args[0].copy(), *args[1:])
    return dict(*args, **kwargs)


def _key_of(key: bytes, record: bytes) -> Any:
    return decode_key(key[ID_BYTES + 1 :], original(record))


def _place(item: tuple[bytes, bytes]) -> bytes:
    return order(item[1])
