"""An item of a queue that is on loan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from manycore.errors import StateError

from .encoding import loads

if TYPE_CHECKING:
    from .queues import Queue


class Delivery:
    """An item that is on loan until it is acknowledged.

    As a context manager it gives the item, acknowledges it at the end of the block, and puts it
    back when the block raises.

    Attributes:
        item: The item.
    """

    __slots__ = ("_data", "_done", "_key", "_queue", "item")

    def __init__(self, queue: Queue, key: bytes, data: bytes) -> None:
        self._queue = queue
        self._key = key
        self._data = data
        self._done = False
        self.item = loads(data)

    def ack(self) -> None:
        """Says that the item is done with, and `task_done`.

        Raises:
            StateError: It was settled before, or put back since its process was taken for dead.
        """
        self._settle()
        self._queue.settle(self._key)

    def put_back(self) -> None:
        """Puts the item back where it was, for another consumer."""
        self._settle()
        self._queue.settle(self._key, put_back=True)

    def _settle(self) -> None:
        if self._done:
            raise StateError("queue", "the item is settled already", "do it once")
        self._done = True

    def __enter__(self) -> Any:
        return self.item

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        if not self._done:
            (self.ack if kind is None else self.put_back)()

    def __repr__(self) -> str:
        return f"<Delivery {self.item!r}>"
