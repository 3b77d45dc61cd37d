"""Dict and Namespace.

A dict's records are its items, by the key's bytes; what it knows of itself is how many there are,
and how many of them have a time to live. Those are found by that time in an index of their own.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import lmdb

from .encoding import SHORT, decode_key, dumps, encode_key, loads
from .proxy import ID_BYTES, ITEMS, META, Facts, Proxy, erase, keep_proxies, read_meta
from .records import TAIL, expiry, is_expired, order, original, pack
from .space import SMALL
from .store import Store, scan, transaction
from .writing import Writing

_COUNTS = struct.Struct(">QQ")
_EMPTY: Final = _COUNTS.pack(0, 0)
_TIMES: Final = b"\x02"  # the index: when an item ends, and its place
_MOMENT = struct.Struct(">Q")  # microseconds since the epoch: sorts as bytes
_OVERHEAD: Final = 64  # bytes of a record besides key and value, at most
_LEAST_TTL: Final = 1e-3  # seconds left to an item whose time ended while it was edited
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
        self._times = self._number + _TIMES
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
        name, exact = encode_key(key)
        data = self._dumps(value)
        writing = self._store.writing
        if len(data) <= SMALL:  # the short way
            record = self._items + name
            try:
                with writing.lock, writing.begin(None, None, True) as txn:
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
        count, timed = _COUNTS.unpack(self._read_meta())
        if timed:
            self._drop_expired()
            count, _ = _COUNTS.unpack(self._read_meta())
        length: int = count
        return length

    def __iter__(self) -> Iterator[Any]:
        return iter(self.keys())

    def __reversed__(self) -> Iterator[Any]:
        return iter(self.keys()[::-1])

    def __repr__(self) -> str:
        return f"<DictProxy {self._label()!r} {len(self)} items>"

    def __str__(self) -> str:
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
            ttl: Seconds after which the key is gone; None: it stays. Setting it again, by
                whichever method, forgets an earlier time.

        Raises:
            ValueError: When `ttl` is not above 0.
        """
        if ttl is not None and not ttl > 0:
            raise ValueError(f"ttl={ttl!r} is not above 0")
        name, exact = encode_key(key)
        data = self._dumps(value)
        expires = None if ttl is None else time.time() + ttl
        if ttl is not None:
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


def put_item(
    writing: Writing,
    txn: Any,
    number: bytes,
    name: bytes,
    data: bytes,
    exact: bytes | None,
    expires: float | None = None,
) -> None:
    """Sets one item, within a transaction."""
    key = number + ITEMS + name
    old = txn.get(key)
    meta = read_meta(txn, number)
    count, timed = _COUNTS.unpack(meta)
    if old is None or is_expired(old, time.time()):
        place = writing.order(txn)
    else:  # it keeps its place, and the key that it was first put with
        place, exact = order(old), original(old)
    if old is None:
        count += 1
    elif (ended := expiry(old)) is not None:
        txn.delete(time_key(number, ended, order(old)))
        timed -= 1
    if expires is not None:
        txn.put(time_key(number, expires, place), name)
        timed += 1
    txn.put(key, pack(data, place, exact, expires))
    if (new := _COUNTS.pack(count, timed)) != meta:
        txn.put(number + META, new)


def put_items(
    writing: Writing, txn: Any, number: bytes, items: list[tuple[bytes, bytes | None, bytes]]
) -> None:
    """Sets what `prepare` gave, within a transaction."""
    writing.need(sum(len(name) + len(data) + _OVERHEAD for name, _, data in items))
    for name, exact, data in items:
        put_item(writing, txn, number, name, data, exact)


def drop_item(txn: Any, number: bytes, key: bytes, record: bytes) -> None:
    """Removes one item that is there, within a transaction."""
    count, timed = _COUNTS.unpack(read_meta(txn, number))
    txn.delete(key)
    moment = expiry(record)
    if moment is not None:
        txn.delete(time_key(number, moment, order(record)))
        timed -= 1
    txn.put(number + META, _COUNTS.pack(count - 1, timed))


def time_key(number: bytes, moment: float, place: bytes) -> bytes:
    """Gives the index's key of an item that ends."""
    return number + _TIMES + _MOMENT.pack(int(moment * 1e6)) + place


def as_items(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[Any, Any]:
    """Reads the arguments of `dict` and `dict.update`; proxies of dicts will do too."""
    if args and isinstance(args[0], DictProxy):
        args = (args[0].copy(), *args[1:])
    return dict(*args, **kwargs)


def prepare(store: Store, items: Mapping[Any, Any]) -> list[tuple[bytes, bytes | None, bytes]]:
    """Turns keys and values into bytes: for each the key's, its pickle if needed, and the value's.

    Raises:
        TypeError: One of them cannot be; nothing was written.
    """
    prepared = []
    for key, value in items.items():
        data = dumps(value)
        keep_proxies(store, data)
        prepared.append((*encode_key(key), data))
    return prepared


def _key_of(key: bytes, record: bytes) -> Any:
    return decode_key(key[ID_BYTES + 1 :], original(record))


def _place(item: tuple[bytes, bytes]) -> bytes:
    return order(item[1])


class Namespace(Proxy):
    """Attributes that processes share.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     config = manager.Namespace(debug=False)
        ...     config.debug = True
        ...     config
        Namespace(debug=True)
    """

    __slots__ = ("_dict",)
    kind: ClassVar[str] = "Namespace"

    def _use(self, facts: Facts) -> None:
        self._dict = DictProxy(self._store, self._number, self._name, facts)

    @classmethod
    def fill(cls, writing: Writing, number: bytes, *begin: Any) -> None:
        """Writes the attributes that a new namespace begins with."""
        DictProxy.fill(writing, number, *begin)

    def __getattribute__(self, name: str) -> Any:
        # every public name is the user's, `name` and `delete` too
        if name.startswith("_"):
            return object.__getattribute__(self, name)
        try:
            return self._dict[name]
        except KeyError:
            raise AttributeError(f"the namespace has no attribute {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            self._dict[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self._dict[name]
        except KeyError:
            raise AttributeError(f"the namespace has no attribute {name!r}") from None

    def __repr__(self) -> str:
        attributes = ", ".join(f"{name}={value!r}" for name, value in sorted(self._dict.items()))
        return f"Namespace({attributes})"
