"""How processes start, by name."""

from __future__ import annotations

from typing import Final

#: `template` and `forkserver` are the same: the template is a fork server
START_METHODS: Final = ("template", "fork", "spawn", "forkserver")


def chosen_method(asked: str | None) -> str:
    """Gives the start method for a process.

    Raises:
        ValueError: When there is no such method.

    Example:
        >>> chosen_method(None)
        'template'
    """
    method = asked or "template"
    if method not in START_METHODS:
        raise ValueError(f"cannot find a start method {asked!r}; there are {START_METHODS}")
    return method
