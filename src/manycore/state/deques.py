"""A deque that processes share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Self

from .encoding import loads
from .proxy import Facts
from .sequences import Sequence, prepare, put_all
from .span import Span, position_key
from .store import transaction


class DequeProxy(Sequence):
    """A deque that processes share, of at most `maxlen` items. Items are pickled copies.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     recent = manager.deque([1, 2, 3], maxlen=3)
        ...     recent.append(4)
        ...     recent.popleft(), list(recent)
        (2, [3, 4])
    """

    __slots__ = ("_maxlen",)
    kind: ClassVar[str] = "deque"
    _noun: ClassVar[str] = "deque"

    def _use(self, facts: Facts) -> None:
        super()._use(facts)
        self._maxlen: int | None = facts["maxlen"]

    def _facts(self) -> Facts:
        return {"maxlen": self._maxlen}

    @property
    def maxlen(self) -> int | None:
        """How many items it holds at most: one more at one end lets one go at the other."""
        return self._maxlen

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            raise TypeError("sequence index must be integer, not 'slice'")
        return super().__getitem__(index)

    def _str(self) -> str:
        return (
            f"deque({list(self)!r}"
            + ("" if self._maxlen is None else f", maxlen={self._maxlen}")
            + ")"
        )

    def __iadd__(self, values: Iterable[Any]) -> Self:
        self.extend(values)
        return self

    def append(self, value: Any) -> None:
        """Adds an item at the right; a full deque loses its leftmost."""
        self.extend((value,))

    def appendleft(self, value: Any) -> None:
        """Adds an item at the left; a full deque loses its rightmost."""
        self.extendleft((value,))

    def extend(self, values: Iterable[Any]) -> None:
        """Adds every item of an iterable at the right, in one transaction."""
        data = prepare(self._store, values)
        writing = self._store.writing
        with writing.lock, writing as txn, txn:
            span = self.span_in(txn)
            put_all(writing, self._items, span.end, data)
            self._fit(txn, Span(span.start, span.length + len(data)), left=True)

    def extendleft(self, values: Iterable[Any]) -> None:
        """Adds every item of an iterable at the left, one after another, in one transaction."""
        data = prepare(self._store, values)[::-1]
        writing = self._store.writing
        with writing.lock, writing as txn, txn:
            span = self.span_in(txn)
            put_all(writing, self._items, span.start - len(data), data)
            longer = Span(span.start - len(data), span.length + len(data))
            self._fit(txn, longer, left=False)

    def insert(self, index: int, value: Any) -> None:
        """Puts an item before an index.

        Raises:
            IndexError: The deque is full.
        """
        with transaction(self._store):
            if len(self) == self._maxlen:
                raise IndexError("deque already at its maximum size")
            super().insert(index, value)

    def popleft(self) -> Any:
        """Removes the leftmost item, and gives it.

        Raises:
            IndexError: The deque is empty.
        """
        return loads(self._pop(0, ""))

    def pop(self) -> Any:  # type: ignore[override]  # as collections.deque has it
        """Removes the rightmost item, and gives it.

        Raises:
            IndexError: The deque is empty.
        """
        return loads(self._pop(-1, ""))

    def rotate(self, n: int = 1) -> None:
        """Moves `n` items from the right end to the left one, in one transaction."""

        def turn(items: list[bytes]) -> None:
            if items:
                cut = -n % len(items)
                items[:] = items[cut:] + items[:cut]

        self.change(turn)

    def copy(self) -> list[Any]:
        """Gives a builtin list of what there is at this moment."""
        return list(self)

    def _fit(self, txn: Any, span: Span, *, left: bool) -> None:
        surplus = 0 if self._maxlen is None else max(0, span.length - self._maxlen)
        first = span.start if left else span.end - surplus
        for position in range(first, first + surplus):
            txn.delete(self._items + position_key(position))
