"""Tasks as bytes, on their way to a worker: the pool's side.

Rules:

1. A batch is written in one go where that changes nothing: a map's items, as the standard
   library's chunks are, and single calls whose arguments are plain values. Calls that share a list
   each get their own copy of it, so others are written one by one.
2. What cannot be written hurts its own task: the error travels in its place and comes back.
3. A plain function is sent to a worker once. What has a state, a partial or a bound method, is
   written with each call, as it is at that moment.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from types import BuiltinFunctionType, FunctionType
from typing import Any, Final, NamedTuple

from manycore.base import passing
from manycore.base.failures import Failure

from .future import Future
from .lots import Calls, Span

# The first byte of a message to a worker.
FUNCTION: Final = b"f"  #: remember a function under a number
FORGET: Final = b"g"  #: forget functions
UNIFORM: Final = b"u"  #: one function, arguments in one pickle
SEPARATE: Final = b"s"  #: a pickle a call
END: Final = b"q"  #: end, after what came before

# The first byte of a message from a worker.
READY: Final = b"r"  #: the initializer has run
BROKEN: Final = b"b"  #: the initializer has failed; a pickled Failure
ANSWER: Final = b"a"  #: through with a message: how many tasks, in how many seconds
SKIPPED: Final = b"k"  #: a recalled task was not begun
BIG: Final = b"l"  #: a result: number, kind, bytes
UNREADABLE: Final = b"x"  #: a uniform message could not be read: send it one by one

FUNCTION_HEAD: Final = struct.Struct("=q")
UNIFORM_HEAD: Final = struct.Struct("=qqd?")  # first number, function, timeout or 0, star
SEPARATE_HEAD: Final = struct.Struct("=q")
ANSWER_BODY: Final = struct.Struct("=qd")
BIG_HEAD: Final = struct.Struct("=qB")

_REMEMBERED: Final = 256  # functions that are held

INSIDE: Final = -1  # in the place of a function's number: it is written with the call
FAILED: Final = -2  # the call could not be written; the rest is a pickled Failure

_ATOMS: Final = frozenset({int, str, float, bytes, bool, complex, type(None)})


class Parcel(NamedTuple):
    """A message and the descriptors that go with it."""

    data: bytes
    fds: tuple[int, ...] = ()


class Known(NamedTuple):
    """A function that workers may be sent once."""

    function: Any  # held, so that its id is not another's
    number: int
    data: bytes
    refers: bool  # to descriptors: it is written for each worker
    by_value: bool


class Functions:
    """The functions that workers know by number; one for the whole pool."""

    def __init__(self) -> None:
        self._by_id: dict[int, Known] = {}
        self._next = 0

    def known(self, function: Any) -> Known:
        """Gives a function's number and bytes.

        What is written by value may have changed, so it is written anew: it keeps its number only
        when it is the same.

        Raises:
            SendError: When it cannot be sent.
        """
        found = self._by_id.get(id(function))
        if found is not None and not found.by_value:
            return found
        cargo = passing.Cargo()
        data = passing.dumps(function, cargo, name="the function")
        if found is not None and found.data == data:
            return found
        by_value = passing.needs_cloudpickle(data) or not isinstance(function, _PLAIN)
        found = Known(function, self._next, data, bool(cargo.fds), by_value)
        self._next += 1
        if len(self._by_id) >= _REMEMBERED:
            self._by_id.clear()
        self._by_id[id(function)] = found
        return found


class Sender:
    """Writes what one worker is sent; remembers which functions it knows."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._has: set[int] = set()

    def write(self, first: int, lot: Calls | Span) -> Iterable[Parcel]:
        """Gives the messages that bring a worker a batch."""
        if len(self._has) > _REMEMBERED:
            self._has.clear()
            yield Parcel(FORGET)
        if isinstance(lot, Span):
            yield from self._write_span(first, lot)
        else:
            yield from self._write_calls(first, lot)

    def _write_span(self, first: int, span: Span) -> Iterable[Parcel]:
        items = span.arguments()
        try:
            number = yield from self._define(span.job.function)
        except Exception as error:
            yield separate(first, [(FAILED, _pack(error), None)] * len(items), passing.Cargo())
            return
        if isinstance(items, range) or _are_atoms(items):
            data = pickle.dumps(items, pickle.HIGHEST_PROTOCOL)
            fds: tuple[int, ...] = ()
        else:
            cargo = passing.Cargo()
            try:
                data = passing.dumps(items, cargo)
            except Exception:
                yield from self.write_one_by_one(first, span)
                return
            fds = tuple(cargo.fds)
        timeout = span.job.limits.timeout or 0.0
        yield Parcel(UNIFORM + UNIFORM_HEAD.pack(first, number, timeout, span.job.star) + data, fds)

    def write_one_by_one(self, first: int, span: Span) -> Iterable[Parcel]:
        """Gives the messages that bring a part of a map, each item for itself."""
        number = yield from self._define(span.job.function)
        cargo = passing.Cargo()
        entries: list[tuple[int, bytes, float | None]] = []
        for item in span.arguments():
            args = tuple(item) if span.job.star else (item,)
            entries.append(_entry(number, (args, {}), span.job.limits.timeout, cargo))
        yield separate(first, entries, cargo)

    def _write_calls(self, first: int, lot: Calls) -> Iterable[Parcel]:
        futures = lot.futures
        function = futures[0].function
        limits = futures[0].limits
        if type(function) in _PLAIN and _are_alike(futures, function):
            all_args = [future.args for future in futures]
            if _are_atoms(chain.from_iterable(all_args)):
                with suppress(Exception):  # below it is told to each of them
                    number = yield from self._define(function)
                    data = pickle.dumps(all_args, pickle.HIGHEST_PROTOCOL)
                    head = UNIFORM_HEAD.pack(first, number, limits.timeout or 0.0, True)
                    yield Parcel(UNIFORM + head + data)
                    return
        cargo = passing.Cargo()
        entries: list[tuple[int, bytes, float | None]] = []
        for future in futures:
            called, args, kwargs = future.function, future.args, future.kwargs or {}
            if type(called) in _PLAIN:
                try:
                    number = yield from self._define(called)
                except Exception as error:
                    entries.append((FAILED, _pack(error), None))
                    continue
                content: tuple[Any, ...] = (args, kwargs)
            else:
                number, content = INSIDE, (called, args, kwargs)
            entries.append(_entry(number, content, limits.timeout, cargo))
        yield separate(first, entries, cargo)

    def _define(self, function: Any) -> Any:
        """Makes sure that the worker knows a function; gives its number."""
        known = self._functions.known(function)
        if known.number not in self._has:
            self._has.add(known.number)
            cargo = passing.Cargo()
            data = known.data
            if known.refers:
                data = passing.dumps(function, cargo, name="the function")
            yield Parcel(FUNCTION + FUNCTION_HEAD.pack(known.number) + data, tuple(cargo.fds))
        return known.number


_PLAIN: Final = (FunctionType, BuiltinFunctionType)


def _are_alike(futures: list[Future], function: Any) -> bool:
    return all(f.function is function and not f.kwargs for f in futures)


def _are_atoms(values: Iterable[Any]) -> bool:
    return {*map(type, values)} <= _ATOMS


def _entry(
    number: int, content: tuple[Any, ...], timeout: float | None, cargo: passing.Cargo
) -> tuple[int, bytes, float | None]:
    kept = len(cargo.fds)
    inner = passing.Cargo()
    inner.fds = list(cargo.fds)  # places count from the message's first descriptor
    try:
        data = passing.dumps(content, inner)
    except Exception as error:
        del cargo.fds[kept:]
        return FAILED, _pack(_readable(error, content)), None
    cargo.fds = inner.fds
    return number, data, timeout


def _readable(error: Exception, content: tuple[Any, ...]) -> Exception:
    """Names the part as the caller wrote it: `args[0].lock`, not `[0][0].lock`."""
    from manycore.errors import SendError

    if not isinstance(error, SendError):
        return error
    names = ("args", "kwargs") if len(content) == 2 else ("the function", "args", "kwargs")  # noqa: PLR2004
    for place, name in enumerate(names):
        prefix = f"[{place}]"
        if error.path.startswith(prefix):
            return SendError(name + error.path[len(prefix) :], error.problem)
    return error


def separate(
    first: int, entries: list[tuple[int, bytes, float | None]], cargo: passing.Cargo
) -> Parcel:
    """Writes the message that brings calls one by one."""
    data = pickle.dumps(entries, pickle.HIGHEST_PROTOCOL)
    return Parcel(SEPARATE + SEPARATE_HEAD.pack(first) + data, tuple(cargo.fds))


def _pack(error: Exception) -> bytes:
    return pickle.dumps(Failure.of(error))
