"""Tasks as bytes, on their way to a worker: the pool's side.

Rules:

1. A batch is written in one go where that changes nothing: a map's items, as the standard
   library's chunks are, and single calls whose arguments are plain values. Calls that share a list
   each get their own copy of it, so others are written one by one.
2. What cannot be written hurts its own task: the error travels in its place and comes back.
3. A batch that would be too big is not written whole: the rest goes back into the queue.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from typing import Any, Final, NamedTuple

from manycore.base import passing
from manycore.base.channel import close_all
from manycore.base.failures import Failure
from manycore.base.segments import Segments
from manycore.errors import SendError

from . import wire
from .freight import BIG, Crate, Loader, Parcel
from .functions import PLAIN, REMEMBERED, Functions, Known
from .future import Future
from .lots import Calls, Span
from .pace import MOST_BYTES

_ATOMS: Final = frozenset({int, str, float, bytes, bool, complex, type(None)})
_TEXTS: Final = frozenset({str, bytes})


class Written(NamedTuple):
    """A batch, or its beginning.

    Attributes:
        parcels: What brings it. Their descriptors are the receiver's.
        tasks: How many tasks of it.
        size: How many bytes their arguments are; 0: few.
    """

    parcels: list[Parcel]
    tasks: int
    size: int = 0


class Entry(NamedTuple):
    """A call that is written for itself.

    Attributes:
        number: Its function's, or what stands in its place.
        data: Function and arguments.
        buffers: What is big in them.
        timeout: Seconds that it may take.
    """

    number: int
    data: bytes | pickle.PickleBuffer
    buffers: list[pickle.PickleBuffer]
    timeout: float | None

    @property
    def size(self) -> int:
        """How many bytes it is."""
        return sum(buffer.raw().nbytes for buffer in self.buffers) + (
            len(self.data) if isinstance(self.data, bytes) else self.data.raw().nbytes
        )


class Sender:
    """Writes what one worker is sent; remembers what it knows.

    Args:
        functions: The pool's.
        segments: Where what is big is written.
        worker: Whom it is for.
    """

    def __init__(self, functions: Functions, segments: Segments, worker: int) -> None:
        self._functions = functions
        self._loader = Loader(segments, worker)
        self._has: set[int] = set()
        self._parcels: list[Parcel] = []

    def write(self, first: int, lot: Calls | Span) -> Written:
        """Writes the messages that bring a worker a batch, or as many of its tasks as fit."""
        self._remember_less()
        if isinstance(lot, Span):
            count, size = self._write_span(first, lot)
        else:
            count, size = self._write_calls(first, lot)
        return Written(self._take(), count, size)

    def write_one_by_one(self, first: int, span: Span) -> list[Parcel]:
        """Writes the messages that bring a part of a map, each item for itself."""
        self._write_items(first, span)
        return self._take()

    def _write_items(self, first: int, span: Span) -> None:
        number = self._define_for_job(span.job)
        timeout = span.job.limits.timeout
        entries = []
        fds: list[int] = []
        for item in span.arguments():
            args = tuple(item) if span.job.star else (item,)
            entries.append(self._entry(number, (args, {}), timeout, fds))
        self._separate(first, entries, fds)

    def write_nothing(self, first: int) -> list[Parcel]:
        """Writes that no task is left of a batch that a worker could not read."""
        self._separate(first, [], [])
        return self._take()

    def forget(self, functions: list[int], files: list[int]) -> list[Parcel]:
        """Writes what the worker need not keep any more."""
        functions = [number for number in functions if number in self._has]
        files = [number for number in files if number in self._loader.knows]
        self._has.difference_update(functions)
        self._loader.knows.difference_update(files)
        if functions or files:
            self._add(wire.FORGET, pickle.dumps((functions, files)))
        return self._take()

    def introduce(self, known: Known) -> list[Parcel]:
        """Writes what the worker must be told to know a function."""
        if known.number in self._has:
            return []
        self._remember_less()
        self._define(known)
        return self._take()

    def _remember_less(self) -> None:
        if len(self._has) > REMEMBERED:
            self._has.clear()
            self._add(wire.FORGET, pickle.dumps(None))

    def _write_span(self, first: int, span: Span) -> tuple[int, int]:
        try:
            number = self._define_for_job(span.job)
        except Exception as error:
            self._separate(first, [_failed(error)] * len(span), [])
            return len(span), 0
        items = span.arguments()
        count, size = len(items), 0
        cargo = passing.Cargo()
        if isinstance(items, range) or are_light_atoms(items):
            data = pickle.dumps(items, pickle.HIGHEST_PROTOCOL)
        else:
            try:
                data, count, cargo = _write_what_fits(items)
                size = len(data) + sum(map(len, cargo.views))
            except Exception:
                self._write_items(first, span)
                return count, size
        timeout = span.job.limits.timeout or 0.0
        head = wire.UNIFORM_HEAD.pack(first, count, number, timeout, span.job.star)
        once, shelf = span.job.once, self._functions.shelf
        try:
            crates: list[Crate] = [
                buffer if once is None else once.crate(buffer, shelf) for buffer in cargo.views
            ]
            self._share(cargo.shared)
            self._add(wire.UNIFORM + head, data, crates, cargo.fds)
        except OSError:  # which of them was too much is seen one by one
            self._write_items(first, span[:count])
        return count, size

    def _write_calls(self, first: int, lot: Calls) -> tuple[int, int]:
        futures = lot.futures
        function = futures[0].function
        timeout = futures[0].limits.timeout
        if type(function) in PLAIN and _are_alike(futures, function):
            all_args = [future.args for future in futures]
            if are_light_atoms([*chain.from_iterable(all_args)]):
                with suppress(Exception):  # below it is told to each of them
                    known = self._functions.known(function)
                    if known is not None:
                        number = self._define(known)
                        head = wire.UNIFORM_HEAD.pack(
                            first, len(futures), number, timeout or 0.0, True
                        )
                        data = pickle.dumps(all_args, pickle.HIGHEST_PROTOCOL)
                        self._add(wire.UNIFORM + head, data)
                        return len(futures), 0
        entries: list[Entry] = []
        fds: list[int] = []
        size = 0
        for future in futures:
            before = len(fds)
            entry = self._write_call(future, timeout, fds)
            size += entry.size
            if entries and size > MOST_BYTES:
                del fds[before:]
                break
            entries.append(entry)
        self._separate(first, entries, fds)
        return len(entries), size

    def _write_call(self, future: Future, timeout: float | None, fds: list[int]) -> Entry:
        function, args, kwargs = future.function, future.args, future.kwargs or {}
        try:
            known = self._functions.known(function) if type(function) in PLAIN else None
            if known is None:
                return self._entry(wire.INSIDE, (function, args, kwargs), timeout, fds)
            return self._entry(self._define(known), (args, kwargs), timeout, fds)
        except Exception as error:
            return _failed(error)

    def _entry(
        self, number: int, content: tuple[Any, ...], timeout: float | None, fds: list[int]
    ) -> Entry:
        cargo = passing.Cargo(big=BIG)
        cargo.fds = list(fds)  # places count from the message's first descriptor
        try:
            data = passing.dumps(content, cargo)
            self._share(cargo.shared)
        except Exception as error:
            return _failed(_readable(error, content))
        fds[:] = cargo.fds
        return Entry(
            number, pickle.PickleBuffer(data) if len(data) >= BIG else data, cargo.buffers, timeout
        )

    def _separate(self, first: int, entries: list[Entry], fds: list[int]) -> None:
        head = wire.SEPARATE + wire.SEPARATE_HEAD.pack(first, len(entries))
        problem = self._try_to_add(head, entries, fds)
        if problem is not None:
            failure = _failed(_no_room(problem))
            light = [failure if entry.size >= BIG else entry for entry in entries]
            if self._try_to_add(head, light, fds) is not None:
                self._add(head, *_pack_entries([failure] * len(entries)))

    def _try_to_add(self, head: bytes, entries: list[Entry], fds: list[int]) -> OSError | None:
        try:
            self._add(head, *_pack_entries(entries), fds)
        except OSError as error:
            return error
        return None

    def _define_for_job(self, job: Any) -> int:
        return self._define(self._functions.for_job(job))

    def _define(self, known: Known) -> int:
        """Makes sure that the worker knows a function; gives its number."""
        if known.number not in self._has:
            fds: list[int] = []
            data = known.data
            if known.refers:
                cargo = passing.Cargo()
                data = passing.dumps(known.function, cargo, name="the function")
                fds = cargo.fds
            self._share(known.shared)
            crates = [] if known.kept is None or known.refers else known.kept.parts
            self._add(wire.FUNCTION + wire.NUMBER.pack(known.number), data, crates, fds)
            self._has.add(known.number)
        return known.number

    def _share(self, objects: list[Any]) -> None:
        """Makes sure that the worker has shared objects."""
        for shared in objects:
            kept = shared.kept
            if kept.number not in self._loader.knows:
                self._add(wire.SHARED + wire.NUMBER.pack(kept.number), b"", kept.parts)

    def _add(
        self, head: bytes, stream: bytes, crates: Iterable[Crate] = (), fds: Iterable[int] = ()
    ) -> None:
        parcel = self._loader.load(head, stream, [*crates], [*fds])
        self._parcels.append(_owned(parcel) if parcel.fds else parcel)

    def _take(self) -> list[Parcel]:
        parcels, self._parcels = self._parcels, []
        return parcels


def _write_what_fits(items: Any) -> tuple[bytes, int, passing.Cargo]:
    """Writes a map's items, as many as are not too big together."""
    count = len(items)
    while True:
        cargo = passing.Cargo(big=BIG, most=MOST_BYTES if count > 1 else None)
        try:
            return passing.dumps(items[:count], cargo), count, cargo
        except passing.TooMuch:
            count //= 2


def _pack_entries(entries: list[Entry]) -> tuple[bytes, list[memoryview]]:
    cargo = passing.Cargo(big=BIG)
    plain = [tuple(entry) for entry in entries]
    data = pickle.dumps(plain, pickle.HIGHEST_PROTOCOL, buffer_callback=cargo.take_buffer)
    return data, cargo.views


def _are_alike(futures: list[Future], function: Any) -> bool:
    return all(f.function is function and not f.kwargs for f in futures)


def are_light_atoms(values: Any) -> bool:
    """Whether values are plain, and few bytes: no two of them can share anything."""
    kinds = {*map(type, values)}
    if not kinds <= _ATOMS:
        return False
    return not (kinds & _TEXTS) or sum(map(sys.getsizeof, values)) <= MOST_BYTES


def _owned(parcel: Parcel) -> Parcel:
    """Keeps descriptors open until they are sent: their owner may close them."""
    fds: list[int] = []
    try:
        for fd in parcel.fds:
            fds.append(os.dup(fd))  # noqa: PERF401  # those before one that fails are closed
    except OSError:
        close_all(fds)
        raise
    return Parcel(parcel.data, tuple(fds))


def _no_room(error: OSError) -> OSError:
    return OSError(error.errno, f"no room for what is to be sent to the worker: {error.strerror}")


def _failed(error: Exception) -> Entry:
    return Entry(wire.FAILED, pickle.dumps(Failure.of(error)), [], None)


def _readable(error: Exception, content: tuple[Any, ...]) -> Exception:
    """Names the part as the caller wrote it: `args[0].lock`, not `[0][0].lock`."""
    if not isinstance(error, SendError):
        return error
    names = ("args", "kwargs") if len(content) == 2 else ("the function", "args", "kwargs")  # noqa: PLR2004
    for place, name in enumerate(names):
        prefix = f"[{place}]"
        if error.path.startswith(prefix):
            return SendError(name + error.path[len(prefix) :], error.problem)
    return error
