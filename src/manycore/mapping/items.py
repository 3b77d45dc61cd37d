"""Where the items come from: a file, standard input, or the paths that a pattern finds."""

from __future__ import annotations

import glob
import os
import select
import stat
from collections.abc import Iterator
from typing import Final, Protocol

from manycore.errors import MapRefused

from . import lines

_BLOCK: Final = 1 << 16
_WILD: Final = frozenset("*?[")


class Source(Protocol):
    """Items, one after the other.

    Attributes:
        name: What it is, for a journal.
        total: How many there are; None: nobody knows before the end.
    """

    name: str
    total: int | None

    def read(self, stop: int) -> Iterator[bytes]:
        """Gives the items; ends early once the descriptor `stop` can be read."""

    def close(self) -> None:
        """Lets go of it."""


class Lines:
    """The lines of a file, or of standard input.

    Args:
        fd: Where they are read.
        name: What a journal calls it.
    """

    def __init__(self, fd: int, name: str) -> None:
        self.name = name
        self._fd = fd
        self._is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        self.total = self._count() if self._is_file else None

    def _count(self) -> int:
        place, count, last = 0, 0, b"\n"
        while block := os.pread(self._fd, _BLOCK * 16, place):
            place += len(block)
            count += block.count(b"\n")
            last = block[-1:]
        return count + (last != b"\n")

    def read(self, stop: int) -> Iterator[bytes]:
        """Gives the lines."""
        return lines.split(self._blocks(stop))

    def _blocks(self, stop: int) -> Iterator[bytes]:
        place = 0
        while True:
            if self._is_file:
                block = os.pread(self._fd, _BLOCK, place)
                place += len(block)
            else:
                ready, _, _ = select.select([self._fd, stop], (), ())
                if stop in ready:
                    return
                block = os.read(self._fd, _BLOCK)
            if not block:
                return
            yield block

    def close(self) -> None:
        """Closes the file."""
        if self._fd > 2:  # noqa: PLR2004  # standard input is not ours
            os.close(self._fd)
            self._fd = -1


class Paths:
    """The paths that a pattern finds.

    Args:
        pattern: The pattern.
        found: The paths.
    """

    def __init__(self, pattern: str, found: list[str]) -> None:
        self.name = os.path.join(os.getcwd(), pattern)
        self.total: int | None = len(found)
        self._found = found

    def read(self, stop: int) -> Iterator[bytes]:
        """Gives the paths."""
        del stop
        return map(os.fsencode, self._found)

    def close(self) -> None:
        """Nothing is open."""


def open_source(text: str) -> Source:
    """Opens what a user names.

    Raises:
        MapRefused: When there is no such thing.
    """
    if text == "-":
        return Lines(0, "-")
    if _WILD & set(text) and not os.path.exists(text):
        found = sorted(glob.glob(text, recursive=True))
        if not found:
            raise MapRefused(text, "no path fits this pattern", "check it, and quote it")
        return Paths(text, found)
    try:
        fd = os.open(text, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
        raise MapRefused(text, problem, "name a file that can be read") from None
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise MapRefused(text, "is a directory", f"write '{text.rstrip('/')}/*' for what is in it")
    return Lines(fd, os.path.abspath(text))
