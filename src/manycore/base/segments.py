"""Memory with a descriptor and no name: shared by handing that on, freed by the kernel.

Writing to pages that were written before costs a third of writing to new ones, which the kernel
has to clear first. So `Segments` uses a file again, but only after its reader has said that nothing
there looks at it any more. Nothing is kept of what a reader that has died had.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Hashable, Sequence
from typing import Final, NamedTuple

KEPT: Final = 8  # files that are kept to be used again
KEPT_BYTES: Final = 128 << 20
_ALIGNMENT: Final = 64  # bytes: a cache line, more than any number needs


def anonymous_file(label: str, content: bytes = b"") -> int:
    """Opens a nameless file and fills it.

    Args:
        label: What `/proc/PID/fd` shows, for people who look.
        content: What it holds at first.

    Returns:
        A descriptor that is closed on exec, at offset 0. The caller owns it.
    """
    if sys.platform == "linux":
        fd = os.memfd_create(f"manycore-{label}", os.MFD_CLOEXEC)
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_all(fd: int) -> bytes:
    """Reads a descriptor from where it stands to its end, and closes it."""
    with open(fd, "rb") as file:
        return file.read()


def places_of(sizes: Sequence[int]) -> list[int]:
    """Gives where parts of these sizes begin in one file.

    Example:
        >>> places_of([10, 100, 1])
        [0, 64, 192]
    """
    places, at = [], 0
    for size in sizes:
        places.append(at)
        at += -(-size // _ALIGNMENT) * _ALIGNMENT
    return places


def write_parts(fd: int, parts: Sequence[memoryview | bytes], places: Sequence[int]) -> None:
    """Writes parts where they belong.

    Raises:
        OSError: When there is no room.
    """
    for part, place in zip(parts, places, strict=True):
        view, at = memoryview(part), place
        while view:
            written = os.pwrite(fd, view, at)
            view, at = view[written:], at + written


class Segment(NamedTuple):
    """A file that a reader has, or had.

    Attributes:
        number: What both sides call it.
        fd: Its descriptor; its owner is `Segments`.
        places: Where its parts begin.
    """

    number: int
    fd: int
    places: list[int]


class Segments:
    """The files that one process writes for others. Not for several threads at once.

    Example:
        >>> segments = Segments("example")
        >>> first = segments.write([b"some"], reader=1)
        >>> segments.give_back(first.number)
        >>> segments.write([b"more"], reader=2).fd == first.fd
        True
        >>> segments.close()
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._next = 0
        self._free: list[tuple[int, int]] = []  # descriptors and the bytes that they hold
        self._lent: dict[int, tuple[Hashable, int, int]] = {}
        self._passing: list[int] = []  # descriptors to close when they were handed on

    def write(self, parts: Sequence[memoryview | bytes], reader: Hashable = None) -> Segment:
        """Writes parts into one file, for a reader.

        Its descriptor is good until the next call of any method.

        Raises:
            OSError: When there is no room, or no descriptor.
        """
        self.settle()
        sizes = [len(part) for part in parts]
        places = places_of(sizes)
        needed = places[-1] + sizes[-1]
        fd, held = self._free.pop() if self._free else (anonymous_file(self._label), 0)
        try:
            write_parts(fd, parts, places)
        except BaseException:
            os.close(fd)
            raise
        held = max(held, needed)
        number, self._next = self._next, self._next + 1
        if self._has_room_for(held):
            self._lent[number] = (reader, fd, held)
        else:
            self._passing.append(fd)
        return Segment(number, fd, places)

    def settle(self) -> None:
        """What was written was handed on: lets go of what will not be used again."""
        while self._passing:
            os.close(self._passing.pop())

    def give_back(self, number: int) -> None:
        """Nobody looks at a file any more: it may be written again."""
        found = self._lent.pop(number, None)
        if found is not None:
            self._free.append(found[1:])

    def lose(self, reader: Hashable) -> None:
        """A reader has died; whether a child of it still looks, nobody knows."""
        self.settle()
        for number in [n for n, (who, _, _) in self._lent.items() if who == reader]:
            os.close(self._lent.pop(number)[1])

    def close(self) -> None:
        """Lets go of all of them; readers keep what they have."""
        self.settle()
        for _, fd, _ in self._lent.values():
            os.close(fd)
        for fd, _ in self._free:
            os.close(fd)
        self._lent.clear()
        self._free.clear()

    def _has_room_for(self, held: int) -> bool:
        kept = [*self._free, *(entry[1:] for entry in self._lent.values())]
        return len(kept) < KEPT and sum(size for _, size in kept) + held <= KEPT_BYTES
