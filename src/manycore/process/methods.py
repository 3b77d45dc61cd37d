"""How processes start, by name."""

from __future__ import annotations

from typing import Final

#: `template` and `forkserver` are the same: the template is a fork server
START_METHODS: Final = ("template", "fork", "spawn", "forkserver")

_default: str | None = None


def chosen_method(asked: str | None) -> str:
    """Gives the start method for a process: the one asked for, or the program's default.

    Raises:
        ValueError: When there is no such method.

    Example:
        >>> chosen_method(None)
        'template'
    """
    method = asked or _default or "template"
    if method not in START_METHODS:
        raise ValueError(f"cannot find a start method {asked!r}; there are {START_METHODS}")
    return method


def default() -> str | None:
    """Gives the program's default, if it was set."""
    return _default


def set_default(method: str | None, *, force: bool) -> None:
    """Sets the program's default; None, with `force`, unsets it.

    Raises:
        RuntimeError: When it was set before, without `force`.
        ValueError: When there is no such method.
    """
    global _default  # noqa: PLW0603  # there is one a program
    if _default is not None and not force:
        raise RuntimeError("context has already been set")
    _default = chosen_method(method) if method is not None else None
