"""What is sent to each worker once: shared objects, and what parts of one map have in common."""

from __future__ import annotations

import pickle
import weakref
from collections import deque
from contextlib import suppress
from itertools import count
from multiprocessing import context
from typing import Any, Final

from manycore.base import passing

from .freight import BIG, Crate, Delivery, Kept


class Shelf:
    """The files that a pool's workers keep.

    Attributes:
        gone: Numbers of files that workers need not keep any more.
    """

    def __init__(self) -> None:
        self.gone: deque[int] = deque()
        self._numbers = count()

    def keep(self, parts: list[memoryview | bytes]) -> Kept:
        """Puts parts into a file that workers keep.

        Raises:
            OSError: When there is no room.
        """
        return Kept(next(self._numbers), parts, self.gone)


class Shared:
    """An object that is sent to each worker once. Tasks get the object in its place.

    Args:
        value: The object. Later changes to it are not seen by workers.
        shelf: The pool's.

    Attributes:
        value: The object.

    Raises:
        SendError: When it cannot be sent.
        OSError: When there is no room for it.

    Example:
        >>> from manycore import Pool
        >>> with Pool(2) as pool:
        ...     table = pool.share(list(range(1000)))
        ...     pool.starmap(max, [(table, [n]) for n in (5, 5000)])
        [[5], [5000]]
    """

    def __init__(self, value: Any, shelf: Shelf) -> None:
        self.value = value
        cargo = passing.Cargo(big=BIG)
        stream = passing.dumps(value, cargo, name="the shared object")
        if cargo.fds or cargo.shared:
            raise ValueError("what holds descriptors, or shared objects, cannot be shared itself")
        self.kept = shelf.keep([stream, *cargo.views])

    def __reduce__(self) -> Any:
        cargo: Any = context.get_spawning_popen()
        if not isinstance(cargo, passing.Cargo):
            raise TypeError("a shared object can be sent to tasks of its pool only")
        cargo.shared.append(self)
        return fetch, (self.kept.number,)

    def __repr__(self) -> str:
        return f"<Shared {type(self.value).__name__}>"


class Once:
    """Which objects were met in a map's items before.

    Only those count whose buffers travel beside the stream, and that can be referred to weakly: an
    id may be another object's tomorrow.
    """

    def __init__(self) -> None:
        self._seen: dict[int, weakref.ref[Any]] = {}
        self._kept: dict[int, Kept] = {}

    def crate(self, buffer: memoryview, shelf: Shelf) -> Crate:
        """Gives how a buffer travels: from the second time on it is kept by the workers."""
        owner = buffer.obj
        key = id(owner)
        known = self._seen.get(key)
        if known is None or known() is not owner:
            self._kept.pop(key, None)
            with suppress(TypeError):
                self._seen[key] = weakref.ref(owner)
            return buffer
        if key not in self._kept:
            self._kept[key] = shelf.keep([buffer])
        part = self._kept[key].parts[0]
        return part if part.size == buffer.nbytes else buffer


_NOTHING: Final = object()


class _Entry:
    """A shared object, in a worker."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery: Delivery | None = delivery
        self._value: Any = _NOTHING

    def value(self) -> Any:
        if self._value is _NOTHING:
            assert self._delivery is not None
            stream, *buffers = self._delivery.buffers
            self._value = pickle.loads(stream, buffers=buffers)  # noqa: S301  # our pool's
            self._delivery = None
        return self._value


_entries: dict[int, _Entry] = {}  # a worker has one pool


def remember(number: int, delivery: Delivery) -> None:
    """In a worker: a shared object has come. It is read when a task wants it."""
    _entries[number] = _Entry(delivery)


def forget(number: int) -> None:
    """In a worker: a shared object is wanted no more."""
    _entries.pop(number, None)


def fetch(number: int) -> Any:
    """In a worker: gives a shared object."""
    if number not in _entries:
        raise LookupError("the shared object did not arrive, or was let go of")
    return _entries[number].value()
