"""A queue that gives the smallest item first: a heap of records, see `heap`."""

from __future__ import annotations

from typing import Any, ClassVar

from manycore.base import life

from .encoding import loads
from .heap import push, take
from .queues import Queue
from .span import position_key
from .store import scan


class PriorityQueue(Queue):
    """A queue that gives the smallest item first. Items are compared while nobody else can write.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     calls = manager.PriorityQueue()
        ...     for call in [(2, "bob"), (1, "ann")]:
        ...         calls.put(call)
        ...     calls.get(), len(calls)
        ((1, 'ann'), 1)
    """

    __slots__ = ()
    kind: ClassVar[str] = "PriorityQueue"

    def _add(self, txn: Any, size: int, data: bytes) -> None:
        for place, item in push(self._reader(txn), size, data, loads):
            txn.put(self._items + position_key(place), item)

    def _take(self, txn: Any, size: int) -> tuple[bytes, bytes]:
        read = self._reader(txn)
        data = read(0)
        for place, item in take(read, size, loads):
            txn.put(self._items + position_key(place), item)
        txn.delete(self._items + position_key(size - 1))
        return self._items, data

    def _restore(self, txn: Any, key: bytes, data: bytes) -> None:
        del key
        size = sum(1 for _ in scan(txn, self._items))
        self._add(txn, size, data[life.SIZE :])

    def _reader(self, txn: Any) -> Any:
        return lambda place: txn.get(self._items + position_key(place))
