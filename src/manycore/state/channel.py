"""Publish: every subscriber gets every message.

A message is stored once, however many subscribers there are, and a subscriber is nothing but the
number of the message that it saw last: it costs the publisher nothing, and leaves nothing behind
when it is killed. The channel keeps the latest `buffer` messages. A subscriber that is further
behind misses the oldest, and is told how many: a slow one never holds up the others, or the
publisher.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from queue import Empty
from typing import Any, ClassVar, Final

from .bells import ring
from .encoding import loads
from .gates import Blocked, wait
from .proxy import ID_BYTES, META, Facts, Proxy
from .span import position_key
from .writing import Writing

BUFFER: Final = 1024  # messages
_LAST = struct.Struct(">Q")
_REASON: Final = b"m"


class Channel(Proxy):
    """Where messages are published.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     news = manager.channel("news")
        ...     reader = news.subscribe()
        ...     news.publish("rain")
        ...     reader.get(timeout=1.0)
        1
        'rain'
    """

    __slots__ = ("_buffer",)
    kind: ClassVar[str] = "channel"

    def _use(self, facts: Facts) -> None:
        self._buffer: int = facts["buffer"]

    def _facts(self) -> Facts:
        return {"buffer": self._buffer}

    @classmethod
    def fill(cls, writing: Writing, number: bytes, *begin: Any) -> None:
        """Writes a channel without messages."""
        del begin
        writing.txn.put(number + META, _LAST.pack(0))

    @property
    def buffer(self) -> int:
        """How many messages a subscriber may be behind before it misses the oldest."""
        return self._buffer

    def publish(self, message: Any) -> int:
        """Sends a message to every subscriber; gives its number, from 1."""
        data = self._dumps(message)
        writing = self._store.writing
        with writing.lock, writing as txn, txn:
            writing.need(len(data))
            last = self.last_in(txn) + 1
            txn.put(self._items + position_key(last), data)
            if last > self._buffer:
                txn.delete(self._items + position_key(last - self._buffer))
            txn.put(self._meta, _LAST.pack(last))
            ring(self, txn, _REASON)
        return last

    def subscribe(self, *, replay: bool = False) -> Subscription:
        """Begins to listen.

        Args:
            replay: Begin with what is still buffered; else with the next message.
        """
        last: int = _LAST.unpack(self._read_meta())[0]
        return Subscription(self, max(0, last - self._buffer) if replay else last)

    def last_in(self, txn: Any) -> int:
        """Gives the number of the last message, within a transaction."""
        last: int = _LAST.unpack(self._meta_in(txn))[0]
        return last

    def read(self, number: int) -> bytes | None:
        """Gives a message's bytes, while it is buffered."""
        return self._store.get(self._items + position_key(number))

    def wait_beyond(self, number: int, timeout: float | None) -> bool:
        """Waits until there is a message after that of a number."""

        def attempt(txn: Any, dead: frozenset[bytes], me: str) -> bool | Blocked:
            del dead, me
            return True if self.last_in(txn) > number else Blocked(_REASON)

        return wait(self, attempt, timeout) is True

    def first(self) -> int | None:
        """Gives the number of the oldest message that is buffered."""
        with self._store.reading() as txn:
            cursor = txn.cursor()
            if not cursor.set_range(self._items) or not cursor.key().startswith(self._items):
                return None
            key: bytes = cursor.key()
        return int.from_bytes(key[ID_BYTES + 1 :]) - (1 << 63)

    def _repr(self) -> str:
        last = _LAST.unpack(self._read_meta())[0]
        return f"<Channel {self._label()!r} {last} published>"


class Subscription:
    """One listener's place in a channel. It can be pickled, and goes on from its place.

    Attributes:
        channel: The channel.
        missed: How many messages it was too slow for.
    """

    def __init__(self, channel: Channel, seen: int) -> None:
        self.channel = channel
        self.missed = 0
        self._seen = seen

    def get(self, timeout: float | None = None) -> Any:
        """Gives the next message.

        Args:
            timeout: For how many seconds to wait for it at most; None: as long as it takes.

        Raises:
            queue.Empty: The time was over.
        """
        while True:
            data = self.channel.read(self._seen + 1)
            if data is not None:
                self._seen += 1
                return loads(data)
            first = self.channel.first()
            if first is not None and first > self._seen + 1:
                self.missed += first - self._seen - 1
                self._seen = first - 1
            elif not self.channel.wait_beyond(self._seen, timeout):
                raise Empty

    def __iter__(self) -> Iterator[Any]:
        """Gives message after message, and waits for each."""
        while True:
            yield self.get()

    def __repr__(self) -> str:
        return f"<Subscription {self.channel._label()!r} at {self._seen}, {self.missed} missed>"  # noqa: SLF001
