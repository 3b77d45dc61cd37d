"""The three standard descriptors: there, and harmless to whoever must not touch the terminal."""

from __future__ import annotations

import os

_STANDARD = (0, 1, 2)


def fill_standard_descriptors() -> None:
    """Opens the null device where standard input, output or error is closed.

    Otherwise the next socket would get the number, and whatever is printed would go to a client.
    """
    for fd in _STANDARD:
        try:
            os.fstat(fd)
        except OSError:  # the lowest free number is this one
            os.open(os.devnull, os.O_RDWR)


def let_go_of_stdin() -> None:
    """Reads nothing from now on: a background process that reads the terminal is stopped."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
