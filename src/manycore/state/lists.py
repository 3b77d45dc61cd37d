"""A list that processes share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Self, overload

from .encoding import loads
from .sequences import Sequence, prepare


class ListProxy(Sequence):
    """A list that processes share. Items are pickled copies.

    Example:
        >>> from manycore import Manager
        >>> with Manager() as manager:
        ...     names = manager.list(["eve", "bob"])
        ...     names.append("ann")
        ...     names.sort()
        ...     names[0], names[1:], len(names)
        ('ann', ['bob', 'eve'], 3)
    """

    __slots__ = ()
    kind: ClassVar[str] = "list"
    _noun: ClassVar[str] = "list"

    @overload
    def __setitem__(self, index: int, value: Any) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[Any]) -> None: ...
    def __setitem__(self, index: int | slice, value: Any) -> None:
        if not isinstance(index, slice):
            super().__setitem__(index, value)
            return
        data = prepare(self._store, value)
        self.change(lambda items: items.__setitem__(index, data))

    def __delitem__(self, index: int | slice) -> None:
        if isinstance(index, slice):
            self.change(lambda items: items.__delitem__(index))
        else:
            super().__delitem__(index)

    def _str(self) -> str:
        return str(list(self))

    def __add__(self, other: Any) -> list[Any]:
        return list(self) + (list(other) if isinstance(other, ListProxy) else other)

    def __radd__(self, other: list[Any]) -> list[Any]:
        return other + list(self)

    def __mul__(self, times: int) -> list[Any]:
        return list(self) * times

    __rmul__ = __mul__

    def __iadd__(self, values: Iterable[Any]) -> Self:  # type: ignore[misc]  # a list's + gives a list
        self.extend(values)
        return self

    def __imul__(self, times: int) -> Self:
        def repeat(items: list[bytes]) -> None:
            items *= times

        self.change(repeat)
        return self

    def copy(self) -> list[Any]:
        """Gives a builtin list of what there is at this moment."""
        return list(self)

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        """Sorts the items in place, in one transaction; every writer waits meanwhile."""

        def by(data: bytes) -> Any:
            return loads(data) if key is None else key(loads(data))

        self.change(lambda items: items.sort(key=by, reverse=reverse))
