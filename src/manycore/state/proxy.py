"""What every proxy is: a container's number in a directory. It travels by these two alone."""

from __future__ import annotations

import os
import pickle
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self, TypeVar

from manycore.base import life
from manycore.errors import ManycoreError, StateClosed, StateTypeError

from .encoding import PROTOCOL, UNPICKLABLE, dumps
from .store import Store, store_at
from .writing import Writing

ID_BYTES: Final = 6
REGISTRY: Final = bytes(ID_BYTES)  # what is known of the containers themselves
_BY_NAME: Final = REGISTRY + b"n"
_BY_ID: Final = REGISTRY + b"c"
_NEXT: Final = REGISTRY + b"i"
_MARK: Final = __name__.encode()  # in the pickle of every proxy, as the home of `rebuild`
LONGEST_NAME: Final = 400  # bytes; the store's keys have at most 511

META: Final = b"\x00"  # behind a container's number: what it knows of itself
ITEMS: Final = b"\x01"  # what it holds
ROWS: Final = b"\x05"  # who waits for it: see gates.py

Facts = dict[str, Any]
KINDS: dict[str, type[Proxy]] = {}
_P = TypeVar("_P", bound="Proxy")

_owned: weakref.WeakValueDictionary[tuple[str, bytes], _Ownership] = weakref.WeakValueDictionary()
_forgotten: deque[tuple[str, bytes]] = deque()


@dataclass(frozen=True, slots=True)
class Entry:
    """What the registry knows of a container.

    Attributes:
        number: Its number in the directory.
        kind: What it is.
        name: Its name, or None.
        owner: The identity of the process whose last proxy it goes with; empty if it stays.
        facts: What was said when it was made.
    """

    number: bytes
    kind: str
    name: str | None
    owner: bytes
    facts: Facts


class Proxy:
    """A container that lives in a manager's directory, seen from this process.

    A manager makes them. They can be pickled, and are the same container in every process.
    """

    __slots__ = ("__weakref__", "_items", "_meta", "_name", "_number", "_owned", "_store")

    kind: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.kind:
            KINDS[cls.kind] = cls

    def __init__(self, store: Store, number: bytes, name: str | None, facts: Facts) -> None:
        self._store = store
        self._number = number
        self._name = name
        self._meta = number + META
        self._items = number + ITEMS
        self._owned = _owned.get((store.home.path, number))
        self._use(facts)

    def _use(self, facts: Facts) -> None:
        """Takes over what was said when the container was made; here nothing."""

    def _facts(self) -> Facts:
        """Gives what `_use` takes."""
        return {}

    @classmethod
    def fill(cls, writing: Writing, number: bytes, *begin: Any) -> None:
        """Writes what a new container begins with; inside the transaction that makes it."""
        raise NotImplementedError

    @property
    def name(self) -> str | None:
        """The name by which any process finds it again; None if it is anonymous."""
        return self._name

    def delete(self) -> None:
        """Removes the container and all it holds, for every process."""
        remove(self._store, self._number)

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (
            type(self).kind,
            self._store.home.path,
            self._number,
            self._name,
            self._facts(),
        )
        return rebuild, arguments

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Proxy):
            return self._number == other._number and self._store is other._store
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self._number, self._store.home.path))

    def __repr__(self) -> str:
        try:
            return self._repr()
        except StateClosed:  # what cannot be used can be printed
            return f"<{type(self).__name__} {self._label()!r} closed>"

    def __str__(self) -> str:
        try:
            return self._str()
        except StateClosed:
            return repr(self)

    def _repr(self) -> str:
        """Gives what `repr` shows while the container is there."""
        raise NotImplementedError

    def _str(self) -> str:
        """Gives what is printed of it."""
        return repr(self)

    def _gone(self) -> StateClosed:
        return StateClosed(self._label(), "it is gone", "it was deleted, or its last owner let go")

    def _dumps(self, value: object) -> bytes:
        try:
            data = pickle.dumps(value, PROTOCOL)
        except UNPICKLABLE:
            data = dumps(value)
        if _MARK in data:
            _keep(self._store, data)
        return data

    def _label(self) -> str:
        return self._name or f"{type(self).kind} {int.from_bytes(self._number)}"

    def _read_meta(self) -> bytes:
        meta = self._store.get(self._meta)
        if meta is None:
            raise self._gone()
        return meta

    def _meta_in(self, txn: Any) -> bytes:
        meta: bytes | None = txn.get(self._meta)
        if meta is None:
            raise self._gone()
        return meta


def read_meta(txn: Any, number: bytes) -> bytes:
    """Reads what a container knows of itself, within a transaction."""
    meta: bytes | None = txn.get(number + META)
    if meta is None:
        label = f"container {int.from_bytes(number)}"
        raise StateClosed(label, "it is gone", "it was deleted, or its last owner let go")
    return meta


def rebuild(kind: str, path: str, number: bytes, name: str | None, facts: Facts) -> Proxy:
    """Makes the proxy of a container that exists, in whichever process."""
    return kind_of(kind)(store_at(path), number, name, facts)


def kind_of(kind: str) -> type[Proxy]:
    """Gives the class of a kind of container."""
    if kind not in KINDS:
        from . import manager  # noqa: F401  # it imports every kind
    return KINDS[kind]


def create(store: Store, cls: type[_P], name: str | None, facts: Facts, *begin: Any) -> _P:
    """Finds the container of a name, or makes one.

    Args:
        store: Where.
        cls: The kind.
        name: None makes an anonymous one, which goes with the last proxy of this process.
        facts: What is said of it, and stays so.
        begin: What it holds at first, as the kind's `fill` takes it.

    Raises:
        StateTypeError: The name is in use for another kind.
    """
    if name is not None and not 0 < len(name.encode()) <= LONGEST_NAME:
        raise ValueError(f"a name has 1 to {LONGEST_NAME} bytes, not {len(name.encode())}")
    _free_forgotten(store)
    writing = store.writing
    with writing.lock, writing as txn, txn:
        if name is not None and (known := txn.get(_BY_NAME + name.encode())) is not None:
            return _found(store, cls, name, known, txn.get(_BY_ID + known))
        number = _next_number(txn)
        owner = life.mine() if name is None else b""
        writing.need(4096)
        txn.put(_BY_ID + number, pickle.dumps((cls.kind, name, owner, facts)))
        if name is not None:
            txn.put(_BY_NAME + name.encode(), number)
        cls.fill(writing, number, *begin)
    if name is None:
        key = (store.home.path, number)
        ownership = _Ownership(store, number)
        _owned[key] = ownership
        proxy = cls(store, number, name, facts)
        del ownership
        return proxy
    return cls(store, number, name, facts)


def entries(store: Store) -> list[Entry]:
    """Lists every container of a directory."""
    return [_entry(key[len(_BY_ID) :], value) for key, value in store.items(_BY_ID)]


def proxy_of(store: Store, entry: Entry) -> Proxy:
    """Gives the proxy of a container that the registry has."""
    return kind_of(entry.kind)(store, entry.number, entry.name, entry.facts)


def find(store: Store, name: str) -> Entry | None:
    """Looks a name up."""
    number = store.get(_BY_NAME + name.encode())
    if number is None:
        return None
    value = store.get(_BY_ID + number)
    return None if value is None else _entry(number, value)


def remove(store: Store, number: bytes) -> None:
    """Removes a container, if it is still there."""
    with store.writing.lock, store.writing as txn, txn:
        value = txn.pop(_BY_ID + number)
        if value is None:
            return
        name = _entry(number, value).name
        if name is not None:
            txn.delete(_BY_NAME + name.encode())
        from .bells import ring_rows  # bells build on proxies

        ring_rows(store.home.gates, txn, number + ROWS)  # who waits for it learns that it is gone
        erase(txn, number)


def erase(txn: Any, prefix: bytes) -> int:
    """Removes every record whose key starts so; gives how many there were."""
    removed = 0
    cursor = txn.cursor()
    found = cursor.set_range(prefix)
    while found and cursor.key().startswith(prefix):
        cursor.delete()
        removed += 1
        found = bool(cursor.key())
    return removed


def keep_proxies(store: Store, data: bytes) -> None:
    """Looks at the pickle of a value that is about to be stored: see `_keep`."""
    if _MARK in data:
        _keep(store, data)


def _keep(store: Store, data: bytes) -> None:
    """Lets the anonymous containers stay whose proxies are part of a value that is being stored.

    Their owner's last proxy may go while the value is still there: from now on they live as long as
    the manager does.
    """
    for number in _numbers_in(data):
        with store.writing.lock, store.writing as txn, txn:
            value = txn.get(_BY_ID + number)
            if value is not None:
                entry = _entry(number, value)
                txn.put(_BY_ID + number, pickle.dumps((entry.kind, entry.name, b"", entry.facts)))


def sweep_orphans(store: Store) -> None:
    """Removes the anonymous containers of processes that have ended."""
    for entry in entries(store):
        if entry.owner and not life.is_alive(entry.owner):
            remove(store, entry.number)


class _Ownership:
    """Shared by the proxies of an anonymous container in the process that made it."""

    __slots__ = ("__weakref__", "_key", "_pid", "_store")

    def __init__(self, store: Store, number: bytes) -> None:
        self._key = (store.home.path, number)
        self._store = weakref.ref(store)
        self._pid = os.getpid()

    def __del__(self) -> None:
        # it may run in the middle of anything, an operation of this very thread included
        if self._pid == os.getpid():
            _forgotten.append(self._key)
            store = self._store()
            if store is not None and store.writing.is_idle():
                _free_forgotten(store)


def _free_forgotten(store: Store) -> None:
    for _ in range(len(_forgotten)):
        path, number = _forgotten.popleft()
        if path != store.home.path:
            _forgotten.append((path, number))
            continue
        try:
            entry = store.get(_BY_ID + number)
            if entry is not None and _entry(number, entry).owner:
                remove(store, number)
        except ManycoreError:  # it is closed, full or busy: later
            _forgotten.append((path, number))
            return


def _entry(number: bytes, value: bytes) -> Entry:
    return Entry(number, *pickle.loads(value))  # noqa: S301  # from a file that only we can write


def _found(store: Store, cls: type[_P], name: str, number: bytes, value: bytes) -> _P:
    entry = _entry(number, value)
    if entry.kind != cls.kind:
        raise StateTypeError(
            name, f"it is the name of a {entry.kind}", f"choose another name for the {cls.kind}"
        )
    return cls(store, number, name, entry.facts)


def _next_number(txn: Any) -> bytes:
    last = int.from_bytes(txn.get(_NEXT) or REGISTRY)
    number = (last + 1).to_bytes(ID_BYTES)
    txn.put(_NEXT, number)
    return number


def _numbers_in(data: bytes) -> set[bytes]:
    """Gives what may be containers' numbers in a pickle, without reading it."""
    import pickletools

    found = (argument for _, argument, _ in pickletools.genops(data))
    return {part for part in found if isinstance(part, bytes) and len(part) == ID_BYTES}
