"""What is too big for a message: it travels beside it, in memory that is handed over.

A message of ours is a head, which says what it is, and a stream, which is a pickle. Buffers that
pickle leaves out of the stream, and a long stream itself, are written into a nameless file, and the
message brings its descriptor. Where they are is a table before the head.

Rules:

1. What arrives is read-only and is not copied. It goes when nobody looks at it any more, and then
   whoever wrote it is told: it may write there again.
2. What is kept on the other side is sent to it once, and named by its number after that.
"""

from __future__ import annotations

import errno
import os
import struct
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from manycore.base.channel import Channel, NoRoomError
from manycore.base.segments import Segments, anonymous_file, places_of, write_parts

BIG: Final = 256 << 10  # bytes: from here on a buffer is not copied into the stream
INLINE: Final = 30_000  # bytes of a message; what is longer would be a file anyway

LADEN: Final = b"L"  # the first byte of a message with a table
_TABLE: Final = struct.Struct("=IB")  # how many parts; whether the first one is the stream
_PART: Final = struct.Struct("=qqqB")  # file, place, size, how the file comes
_ONCE, _KEEP, _KNOWN = 0, 1, 2  # with a descriptor; with one, and is kept; it is there


class Parcel(NamedTuple):
    """A message and the descriptors that go with it."""

    data: bytes
    fds: tuple[int, ...] = ()


class Part(NamedTuple):
    """Something in a file that is kept."""

    number: int
    fd: int
    place: int
    size: int


class Kept:
    """A file that is sent to each worker once. Let go of, it is forgotten there, too.

    Args:
        number: What both sides call it.
        parts: What it holds.
        gone: Told the number when this goes.

    Raises:
        OSError: When there is no room.
    """

    def __init__(self, number: int, parts: Sequence[memoryview | bytes], gone: deque[int]) -> None:
        self.number = number
        self._gone = gone
        self._fd = -1  # until there is one
        places = places_of([len(part) for part in parts])
        self._fd = anonymous_file("kept")
        write_parts(self._fd, parts, places)
        self.parts = [
            Part(number, self._fd, place, len(part))
            for part, place in zip(parts, places, strict=True)
        ]

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._gone.append(self.number)


Crate = memoryview | Part  # a buffer that travels beside a stream


class Loader:
    """Writes messages for one reader.

    Args:
        segments: Where big parts are written.
        reader: Who it is.

    Attributes:
        knows: The files that it keeps.
    """

    def __init__(self, segments: Segments, reader: object = None) -> None:
        self.knows: set[int] = set()
        self._segments = segments
        self._reader = reader

    def load(
        self,
        head: bytes,
        stream: bytes,
        crates: Sequence[Crate] = (),
        fds: Sequence[int] = (),
    ) -> Parcel:
        """Writes a message.

        Its descriptors are good until the next one is written.

        Raises:
            OSError: When there is no room for what is big in it.
        """
        long = len(head) + len(stream) > INLINE
        if not crates and not long:
            return Parcel(head + stream, tuple(fds))
        fresh: list[memoryview | bytes] = [stream] if long else []
        fresh += [crate for crate in crates if not isinstance(crate, Part)]
        brought: list[int] = []
        own: list[tuple[int, int, int, int]] = []
        if fresh:
            segment = self._segments.write(fresh, self._reader)
            brought.append(segment.fd)
            own = [
                (segment.number, place, len(part), _ONCE)
                for part, place in zip(fresh, segment.places, strict=True)
            ]
        rows = own[:long]
        own = own[long:]
        for crate in crates:
            if not isinstance(crate, Part):
                rows.append(own.pop(0))
            elif crate.number in self.knows:
                rows.append((crate.number, crate.place, crate.size, _KNOWN))
            else:
                self.knows.add(crate.number)
                brought.append(crate.fd)
                rows.append((crate.number, crate.place, crate.size, _KEEP))
        table = _TABLE.pack(len(rows), long) + b"".join(_PART.pack(*row) for row in rows)
        return Parcel(b"".join([LADEN, table, head, b"" if long else stream]), (*fds, *brought))


class Delivery(NamedTuple):
    """A message that has arrived.

    Attributes:
        data: Its head; and its stream, unless that came beside it.
        fds: Descriptors, which are the receiver's to close.
        stream: The stream, when it came beside the head.
        buffers: What else came beside it.
        problem: Why what came beside it is not here.
    """

    data: bytes
    fds: list[int]
    stream: memoryview | None = None
    buffers: Sequence[memoryview] = ()
    problem: OSError | None = None

    def body(self, start: int) -> memoryview:
        """Gives the stream, which begins at this byte when it came with the head."""
        return memoryview(self.data)[start:] if self.stream is None else self.stream


def strip(data: bytes) -> bytes:
    """Gives a message without its table, and without what came beside it."""
    if data[:1] != LADEN:
        return data
    count, _ = _TABLE.unpack_from(data, 1)
    return data[1 + _TABLE.size + count * _PART.size :]


def _no_room(error: OSError) -> OSError:
    return OSError(error.errno, f"no room for what was sent: {error.strerror}")


class Unloader:
    """Reads messages of one writer.

    Attributes:
        released: The files that nobody here looks at any more.
    """

    def __init__(self) -> None:
        self.released: deque[int] = deque()
        self._kept: dict[int, memoryview] = {}

    def receive(self, channel: Channel, *, wait: bool = True) -> Delivery:
        """Receives a message and opens it.

        Raises:
            EOFError: When the other end is closed.
            BlockingIOError: When nothing is there, without `wait`.
        """
        try:
            data, fds = channel.receive(wait=wait)
        except NoRoomError as error:
            return Delivery(strip(error.data), [], problem=_no_room(error))
        if data[:1] != LADEN:
            return Delivery(data, fds)
        try:
            return self._open(data, fds)
        except OSError as error:
            return Delivery(strip(data), [], problem=_no_room(error))

    def _open(self, data: bytes, fds: list[int]) -> Delivery:
        count, long = _TABLE.unpack_from(data, 1)
        start = 1 + _TABLE.size
        rows = [_PART.unpack_from(data, start + n * _PART.size) for n in range(count)]
        own = len(fds) - len({(row[0], row[3]) for row in rows if row[3] != _KNOWN})
        try:
            parts = self._show(rows, fds[own:])
        finally:
            for fd in fds[own:]:
                os.close(fd)
        return Delivery(strip(data), fds[:own], parts[0] if long else None, parts[long:])

    def forget(self, number: int) -> None:
        """Lets go of a file that was kept."""
        self._kept.pop(number, None)

    def _show(self, rows: list[Any], fds: list[int]) -> list[memoryview]:
        from manycore.base.mapping import map_file  # few need it, and it takes a while to import

        brought = iter(fds)
        files: dict[tuple[int, bool], memoryview] = {}
        for number, _, _, how in rows:
            if how == _KNOWN or (number, how == _KEEP) in files:
                continue
            fd = next(brought)
            if how == _KEEP:
                size = os.fstat(fd).st_size
                self._kept[number] = files[number, True] = map_file(fd, size)
            else:
                size = max(p + s for n, p, s, h in rows if n == number and h == _ONCE)
                files[number, False] = map_file(fd, size, lambda n=number: self.released.append(n))  # type: ignore[misc]
        found = []
        for number, place, size, how in rows:
            file = files[number, False] if how == _ONCE else self._kept.get(number)
            if file is None:
                raise OSError(errno.EMFILE, "no room for what was to be kept, when it was sent")
            found.append(file[place : place + size])
        return found
