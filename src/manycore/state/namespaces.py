"""Attributes that processes share."""

from __future__ import annotations

from typing import Any, ClassVar

from .mappings import DictProxy
from .proxy import Facts, Proxy
from .writing import Writing


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

    def _repr(self) -> str:
        attributes = ", ".join(f"{name}={value!r}" for name, value in sorted(self._dict.items()))
        return f"Namespace({attributes})"
