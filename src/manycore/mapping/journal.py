"""The journal: what is done is in a file as soon as it is done.

Guarantees: whoever is killed, and when, what was written whole is found again, and the rest is done
again; one run writes it at a time; another function's or another input's journal is refused, and
nothing in it is changed. The format and the rules of reading it are in `records`.

What was flushed is the kernel's: it is safe from the death of every process. Once a second the disk
is asked for it, for when the machine loses power.
"""

from __future__ import annotations

import fcntl
import os
import time
from array import array
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from manycore.errors import MapError, MapRefused

from . import records
from .records import Entry, Header

_SYNC_EVERY: Final = 1.0  # seconds of work that a power cut may cost
_BLOCK: Final = 1 << 20
_MISSING: Final = -1


class Journal:
    """An open journal.

    Args:
        path: Its file; made when there is none.
        header: Whose it is.

    Raises:
        MapRefused: When it is another map's, or no journal.
        MapError: When another run has it, or it cannot be read or written.
    """

    def __init__(self, path: str, header: Header) -> None:
        self._path = path
        self._where = array("q")  # an item's entry, by the item's number
        self._digests = array("Q")
        self._size = 0
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._synced = time.monotonic()
        self.done = 0
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o666)
        except OSError as error:
            raise self._failed(error) from None
        try:
            self._lock()
            self._recover(header)
        except BaseException:
            os.close(self._fd)
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MapError(
                self._path, "another run is writing it", "wait for its end, or name another journal"
            ) from None
        except OSError as error:
            raise self._failed(error) from None

    def _recover(self, header: Header) -> None:
        lines = self._lines()
        offset, first = next(lines, (0, b""))
        if not first:
            content = os.pread(self._fd, _BLOCK, 0)
            if not records.is_torn_header(content):
                raise self._not_ours()
            self._cut(0)
            self._pending.append(header.line())
            self.flush()
            return
        found = records.read_header(first)
        if found is None:
            raise self._not_ours()
        self._compare(found, header)
        self._size = offset + len(first) + 1
        for offset, line in lines:
            self._size = offset + len(line) + 1
            entry = records.read_entry(line)
            if entry is not None:
                self._note(entry, offset)
        self._cut(self._size)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Gives the lines that are whole, each with its place; without its end."""
        begin, pending = 0, bytearray()
        place = 0
        while True:
            block = os.pread(self._fd, _BLOCK, place)
            if not block:
                return
            place += len(block)
            pending += block
            *lines, rest = bytes(pending).split(b"\n") if b"\n" in block else [bytes(pending)]
            for line in lines:
                yield begin, line
                begin += len(line) + 1
            if lines:
                pending = bytearray(rest)

    def _compare(self, found: Header, wanted: Header) -> None:
        for name in Header._fields:
            theirs, ours = getattr(found, name), getattr(wanted, name)
            if theirs != ours:
                raise MapRefused(
                    self._path,
                    f"it is the journal of {name} {theirs!r}, not {ours!r}",
                    "run what it was begun with, or name another journal",
                )

    def _not_ours(self) -> MapRefused:
        return MapRefused(
            self._path, "it is not a journal of manycore map", "name another file for the journal"
        )

    def _note(self, entry: Entry, offset: int) -> None:
        missing = entry.number + 1 - len(self._where)
        if missing > 0:
            self._where.extend([_MISSING] * missing)
            self._digests.extend([0] * missing)
        if self._where[entry.number] == _MISSING:
            self.done += 1
        self._where[entry.number] = offset
        self._digests[entry.number] = int.from_bytes(entry.digest)

    def __len__(self) -> int:
        """How many items it knows of: one more than the number of the last that is done."""
        return len(self._where)

    def has(self, number: int) -> bool:
        """Whether an item is done."""
        return number < len(self._where) and self._where[number] != _MISSING

    def check(self, number: int, line: bytes) -> None:
        """Makes sure that an item which is done is still the same.

        Raises:
            MapRefused: When it is not.
        """
        if self._digests[number] != int.from_bytes(records.digest_of(line)):
            raise MapRefused(
                self._path,
                f"line {number + 1} of the input is another one than when it was done",
                "run it with the input it was begun with, or name another journal",
            )

    def check_end(self, count: int) -> None:
        """Makes sure that an input is not shorter than it was.

        Raises:
            MapRefused: When items are done that are not there any more.
        """
        if count < len(self):
            raise MapRefused(
                self._path,
                f"line {len(self)} is done, and the input has only {count}",
                "run it with the input it was begun with, or name another journal",
            )

    def record(self, number: int) -> bytes:
        """Gives what is written to the output of an item that is done.

        Raises:
            MapError: When it cannot be read any more.
        """
        self.flush()
        content, offset = bytearray(), self._where[number]
        while b"\n" not in content:
            block = os.pread(self._fd, max(4096, len(content)), offset + len(content))
            if not block:
                break
            content += block
        entry = records.read_entry(bytes(content.partition(b"\n")[0]))
        if entry is None or entry.number != number:
            raise MapError(self._path, "it was changed by somebody else", "run the command again")
        return entry.record

    def add(self, number: int, line: bytes, record: bytes) -> None:
        """Notes that an item is done; `flush` writes it down."""
        entry = Entry(number, records.digest_of(line), record)
        data = entry.line()
        self._note(entry, self._size + self._pending_size)
        self._pending.append(data)
        self._pending_size += len(data)

    def flush(self) -> None:
        """Writes down what was noted.

        Raises:
            MapError: When there is no room; what is in the journal is good.
        """
        if not self._pending:
            return
        data = b"".join(self._pending)
        self._pending.clear()
        self._pending_size = written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._fd, data[written:], self._size + written)
        except OSError as error:
            with suppress(OSError):
                self._cut(self._size)
            raise self._failed(error) from None
        self._size += len(data)
        if time.monotonic() - self._synced > _SYNC_EVERY:
            self._sync()

    def _cut(self, size: int) -> None:
        if os.fstat(self._fd).st_size != size:
            os.ftruncate(self._fd, size)

    def _sync(self) -> None:
        with suppress(OSError):  # a pipe or a device has no disk
            os.fdatasync(self._fd)
        self._synced = time.monotonic()

    def close(self) -> None:
        """Lets another run have it; what was noted is written down, if there is room."""
        if self._fd >= 0:
            with suppress(MapError):
                self.flush()
            self._sync()
            os.close(self._fd)
            self._fd = -1

    def _failed(self, error: OSError) -> MapError:
        problem = (error.strerror or str(error)).lower()
        remedy = "what is done is kept: make room, or name another file, and run it again"
        return MapError(self._path, problem, remedy)
