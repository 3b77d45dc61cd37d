"""Queues, for threads of any process.

An item is a record, and they are taken in the order of their keys. An item that was taken with
`ack=True` stays, marked with its taker's process, until it is acknowledged: when that process ends
first, the item is put back where it was. Without `ack`, a consumer that is killed takes at most the
item with it that it had just been given.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from queue import Empty, Full
from typing import Any, ClassVar, Final

import lmdb

from manycore.base import life
from manycore.errors import StateError

from .acquirable import seconds
from .bells import anybody_waits, ring, ring_in_line
from .delivery import Delivery
from .encoding import loads
from .gates import Blocked, wait
from .proxy import ID_BYTES, META, Facts, Proxy
from .space import SMALL
from .store import scan
from .writing import Writing

_TAKEN: Final = b"\x02"  # behind the number: items that wait to be acknowledged
_NOT_EMPTY, _NOT_FULL, _ALL_DONE = b"g", b"p", b"j"
# items, unfinished tasks, items to be acknowledged, and whether anybody may be waiting
_COUNTS = struct.Struct(">QQQ?")
_LOOK_AFTER: Final = 1.0  # seconds between looks for dead takers, while there are other items


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a consumer was given: the item's key and bytes."""

    key: bytes
    data: bytes


class Queue(Proxy):
    """A queue that processes share: first in, first out. Items are pickled copies.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     jobs = manager.Queue(maxsize=2)
        ...     jobs.put("wash")
        ...     jobs.put("dry")
        ...     with jobs.get(ack=True) as job:
        ...         print(job)
        ...     jobs.get(timeout=1.0), jobs.empty()
        wash
        ('dry', True)
    """

    __slots__ = ("_looked", "_maxsize")
    kind: ClassVar[str] = "Queue"

    def _use(self, facts: Facts) -> None:
        self._maxsize: int = facts["maxsize"]
        self._looked = 0.0

    def _facts(self) -> Facts:
        return {"maxsize": self._maxsize}

    @classmethod
    def fill(cls, writing: Writing, number: bytes, *begin: Any) -> None:
        """Writes a queue that is empty."""
        del begin
        writing.txn.put(number + META, _COUNTS.pack(0, 0, 0, False))

    @property
    def maxsize(self) -> int:
        """How many items it holds at most; 0 or less: any number."""
        return self._maxsize

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002  # as queue has it
        """Adds an item. Never waits for who takes it, unless the queue is full.

        Args:
            item: The item.
            block: Whether to wait for room.
            timeout: For how many seconds at most.

        Raises:
            Full: There was no room.
        """
        data = self._dumps(item)
        if self._maxsize > 0:
            limit = _limit(block, timeout)
            if wait(self, lambda txn, *_: self._try_put(txn, data), limit) is not True:
                raise Full
            return
        writing = self._store.writing
        if len(data) <= SMALL:  # the short way: nobody waits for it
            meta = self._meta
            try:
                with writing.lock, writing.begin() as txn:
                    counts = txn.get(meta)
                    if counts is not None and not counts[-1] and writing.has_room():
                        size, unfinished, taken, awaited = _COUNTS.unpack(counts)
                        self._add(txn, size, data)
                        txn.put(meta, _COUNTS.pack(size + 1, unfinished + 1, taken, awaited))
                        return
            except lmdb.Error:
                pass  # see below
        with writing.lock, writing as txn, txn:
            self._put(txn, data)

    def put_nowait(self, item: Any) -> None:
        """Adds an item, or raises `Full`."""
        self.put(item, block=False)

    def get(self, block: bool = True, timeout: float | None = None, *, ack: bool = False) -> Any:  # noqa: FBT001, FBT002
        """Takes an item.

        Args:
            block: Whether to wait for one.
            timeout: For how many seconds at most.
            ack: Give a `Delivery` that has to be acknowledged: if this process ends first, the item
                returns to its place.

        Raises:
            Empty: There was none.
        """
        if not ack:  # the short way: there is an item, none is on loan, and nobody waits
            writing, meta = self._store.writing, self._meta
            try:
                with writing.lock, writing.begin() as txn:
                    counts = txn.get(meta)
                    if counts is not None and not counts[-1] and writing.has_room():
                        size, unfinished, taken, awaited = _COUNTS.unpack(counts)
                        if size and not taken:
                            data = self._take(txn, size)[1]
                            txn.put(meta, _COUNTS.pack(size - 1, unfinished, taken, awaited))
                            return loads(data)
            except lmdb.Error:
                pass  # see below
        limit = _limit(block, timeout)
        taken = wait(self, lambda txn, dead, _: self._try_get(txn, dead, ack=ack), limit)
        if isinstance(taken, Blocked):
            raise Empty
        return Delivery(self, taken.key, taken.data) if ack else loads(taken.data)

    def get_nowait(self) -> Any:
        """Takes an item, or raises `Empty`."""
        return self.get(block=False)

    def task_done(self) -> None:
        """Says that an item that was taken has been dealt with; see `join`.

        Raises:
            ValueError: More often than there were items.
        """
        with self._store.writing.lock, self._store.writing as txn, txn:
            size, unfinished, taken, awaited = _COUNTS.unpack(self._meta_in(txn))
            if not unfinished:
                raise ValueError("task_done() called too many times")
            ended = _ALL_DONE if unfinished == 1 else b""
            self._save(txn, size, unfinished - 1, taken, awaited, ended)

    def join(self, timeout: float | None = None) -> bool:
        """Waits until every item that was put has been dealt with.

        Args:
            timeout: For how many seconds at most; None: as long as it takes.

        Returns:
            False if the time was over first.
        """

        def attempt(txn: Any, dead: frozenset[bytes], me: str) -> bool | Blocked:
            del dead, me
            counts = _COUNTS.unpack(self._meta_in(txn))
            if not counts[1]:
                return True
            return self._blocked(txn, counts, Blocked(_ALL_DONE))

        return wait(self, attempt, seconds(timeout)) is True

    def qsize(self) -> int:
        """Gives how many items can be taken."""
        size: int = _COUNTS.unpack(self._read_meta())[0]
        return size

    def empty(self) -> bool:
        """Whether there is none."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Whether there is no room."""
        return 0 < self._maxsize <= self.qsize()

    def __len__(self) -> int:
        return self.qsize()

    def _repr(self) -> str:
        return f"<{type(self).__name__} {self._label()!r} {self.qsize()} items>"

    def settle(self, key: bytes, *, put_back: bool = False) -> None:
        """Ends the loan of an item; for `Delivery`."""
        with self._store.writing.lock, self._store.writing as txn, txn:
            data = txn.pop(key)
            if data is None:
                raise StateError(self._label(), "the item was put back", "it may be done twice")
            size, unfinished, taken, awaited = _COUNTS.unpack(self._meta_in(txn))
            if put_back:
                self._restore(txn, key, data)
                self._save(txn, size + 1, unfinished, taken - 1, awaited, _NOT_EMPTY)
                return
            left = max(0, unfinished - 1)
            self._save(txn, size, left, taken - 1, awaited, b"" if left else _ALL_DONE)

    def _try_put(self, txn: Any, data: bytes) -> bool | Blocked:
        counts = _COUNTS.unpack(self._meta_in(txn))
        if counts[0] >= self._maxsize:
            return self._blocked(txn, counts, Blocked(_NOT_FULL, in_line=True))
        self._put(txn, data)
        return True

    def _put(self, txn: Any, data: bytes) -> None:
        writing = self._store.writing
        if writing.short or len(data) > SMALL:
            writing.need(len(data))
        meta = txn.get(self._meta)
        if meta is None:
            raise self._gone()
        size, unfinished, taken, awaited = _COUNTS.unpack(meta)
        self._add(txn, size, data)
        if awaited:
            # room for more than one: who puts next may do so too
            ended = _NOT_EMPTY + (_NOT_FULL if size + 1 < self._maxsize else b"")
            self._save(txn, size + 1, unfinished + 1, taken, awaited, ended)
        else:
            txn.put(self._meta, _COUNTS.pack(size + 1, unfinished + 1, taken, awaited))

    def _try_get(self, txn: Any, dead: frozenset[bytes], *, ack: bool) -> _Taken | Blocked:
        counts = _COUNTS.unpack(self._meta_in(txn))
        size, unfinished, taken, awaited = counts
        if taken and (dead or (size and time.monotonic() > self._looked + _LOOK_AFTER)):
            returned = self._return_items(txn, dead)
            size, taken = size + returned, taken - returned
        if not size:
            watched = self._takers(txn) if taken else ()
            return self._blocked(txn, counts, Blocked(_NOT_EMPTY, watched, in_line=True))
        key, data = self._take(txn, size)
        if ack:
            key = self._number + _TAKEN + self._store.writing.order(txn) + key[ID_BYTES + 1 :]
            if len(data) > SMALL:
                self._store.writing.need(len(data))
            txn.put(key, life.mine() + data)
        if awaited:
            # one of several: who waits next may take another
            ended = _NOT_FULL + (_NOT_EMPTY if size > 1 else b"")
            self._save(txn, size - 1, unfinished, taken + ack, awaited, ended)
        else:
            txn.put(self._meta, _COUNTS.pack(size - 1, unfinished, taken + ack, awaited))
        return _Taken(key, data)

    def _save(
        self,
        txn: Any,
        size: int,
        unfinished: int,
        taken: int,
        awaited: bool,  # noqa: FBT001  # one of five numbers of a record
        ended: bytes,
    ) -> None:
        """Writes the counts, and wakes those whose reason to wait has ended."""
        if awaited:
            for reason in ended:
                if reason == _ALL_DONE[0]:
                    ring(self, txn, _ALL_DONE)
                else:
                    ring_in_line(self, txn, bytes((reason,)))
            awaited = anybody_waits(self, txn)
        txn.put(self._meta, _COUNTS.pack(size, unfinished, taken, awaited))

    def _blocked(self, txn: Any, counts: tuple[Any, ...], blocked: Blocked) -> Blocked:
        """Says that somebody may be waiting from now on, so that the others look."""
        if not counts[3]:
            txn.put(self._meta, _COUNTS.pack(*counts[:3], True))
        return blocked

    def _add(self, txn: Any, size: int, data: bytes) -> None:
        del size
        txn.put(self._items + self._store.writing.order(txn), data)

    def _take(self, txn: Any, size: int) -> tuple[bytes, bytes]:
        del size
        cursor = txn.cursor()
        cursor.set_range(self._items)
        key, data = cursor.item()
        cursor.delete()
        return key, data

    def _restore(self, txn: Any, key: bytes, data: bytes) -> None:
        """Puts an item back where it was; its place is the end of the key of the loan."""
        place = key[ID_BYTES + 1 + _ORDER :]
        txn.put(self._items + place, data[life.SIZE :])

    def _takers(self, txn: Any) -> tuple[bytes, ...]:
        rows = scan(txn, self._number + _TAKEN)
        return tuple(sorted({data[: life.SIZE] for _, data in rows} - {life.mine()}))

    def _return_items(self, txn: Any, dead: frozenset[bytes]) -> int:
        """Puts back what the dead had on loan; gives how much."""
        self._looked = time.monotonic()
        gone = dead or {process for process in self._takers(txn) if not life.is_alive(process)}
        lost = [
            (key, data)
            for key, data in scan(txn, self._number + _TAKEN)
            if data[: life.SIZE] in gone
        ]
        for key, data in lost:
            txn.delete(key)
            self._restore(txn, key, data)
        return len(lost)


_ORDER: Final = 9  # bytes of `Writing.order`


class JoinableQueue(Queue):
    """A queue, by the name that the standard library's manager gives it."""

    __slots__ = ()
    kind: ClassVar[str] = "JoinableQueue"


class SimpleQueue(Queue):
    """A queue without a limit.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     box = manager.SimpleQueue()
        ...     box.put(1)
        ...     box.get()
        1
    """

    __slots__ = ()
    kind: ClassVar[str] = "SimpleQueue"


def _limit(block: bool, timeout: float | None) -> float | None:  # noqa: FBT001
    """Reads a time-out as the queue module does."""
    if not block:
        return 0.0
    if timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    return timeout
