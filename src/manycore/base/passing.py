"""Objects on their way to a process that is being started.

Rules:

1. Plain pickle first. What a fresh interpreter cannot import travels by value: functions and
   classes of `__main__`, lambdas, closures, and everything of a module that is in no file.
2. Descriptors, sockets, and the locks, queues and pipes of `multiprocessing` go along. They ask
   `multiprocessing.context` who is starting a process, so that is what we answer to.
3. What cannot be sent is named: which part of what was passed, as Python would spell it.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing import context
from multiprocessing.reduction import ForkingPickler
from types import FunctionType
from typing import Any

from manycore.errors import SendError

from . import signals

#: the descriptors that this process was given at its start, in the order they were sent
inherited: list[int] = []


class Cargo:
    """What is collected while an object is written: descriptors that must go along.

    Takes the place of the standard library's `Popen` object while objects are pickled.

    Args:
        big: Bytes from which on a buffer travels beside the stream; None: all are in the stream.
        most: Bytes that there may be in all; None: any number.

    Attributes:
        fds: Descriptors that go along.
        buffers: What travels beside the stream.
        shared: What the other side has, or is to be sent once.
    """

    def __init__(self, *, big: int | None = None, most: int | None = None) -> None:
        self.fds: list[int] = []
        self.buffers: list[pickle.PickleBuffer] = []
        self.shared: list[Any] = []
        self.talks = False  # something was sent through which objects may come later
        self._big = big
        self._most = most
        self._size = 0

    def empty(self) -> None:
        """Forgets what was collected: all is written anew, in another way."""
        self.fds.clear()
        self.buffers.clear()
        self.shared.clear()
        self._size = 0

    def weigh(self, size: int) -> None:
        """Counts bytes.

        Raises:
            TooMuch: When they are more than there may be.
        """
        self._size += size
        if self._most is not None and self._size > self._most:
            raise TooMuch

    def take_buffer(self, buffer: pickle.PickleBuffer) -> bool:
        """Takes a buffer along; True when it belongs into the stream."""
        if self._big is None:
            return True
        try:
            size = buffer.raw().nbytes
        except BufferError:  # it is in pieces
            return True
        if size < self._big:
            return True
        self.weigh(size)
        self.buffers.append(buffer)
        return False

    @property
    def views(self) -> list[memoryview]:
        """What travels beside the stream, as bytes.

        Made when it is wanted: a view of a view that is garbage in a cycle crashes CPython 3.11.
        """
        return [buffer.raw() for buffer in self.buffers]

    def duplicate_for_child(self, fd: int) -> int:
        """Takes a descriptor along; gives its place among those that the child gets."""
        self.talks = True
        self.fds.append(fd)
        return len(self.fds) - 1

    class DupFd:
        """A descriptor, in the language of `multiprocessing.reduction`."""

        def __init__(self, place: int) -> None:
            self.place = place

        def detach(self) -> int:
            """Gives the descriptor, in the child."""
            return inherited[self.place]


class TooMuch(BaseException):  # no error: it must get through what catches errors
    """What is being written is more than fits."""


class _Sink(io.BytesIO):
    """Where a stream is written."""

    def __init__(self, cargo: Cargo) -> None:
        super().__init__()
        self._cargo = cargo

    def write(self, part: Any) -> int:
        self._cargo.weigh(len(part))
        return super().write(part)


class _NotByReferenceError(Exception):
    """Plain pickle would name something that the child cannot import."""


class _PlainPickler(ForkingPickler):
    """Refuses to write the name of what cannot be imported."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, FunctionType | type) and not is_importable(value.__module__):
            raise _NotByReferenceError
        return NotImplemented


def dumps(value: object, cargo: Cargo, *, name: str = "") -> bytes:
    """Writes an object for a child that is about to start.

    Args:
        value: The object.
        cargo: Where its descriptors are collected.
        name: What error messages call it; nothing for its attributes alone.

    Raises:
        SendError: When a part of it cannot be sent; the message says which.
        TooMuch: When it is more than the cargo may be.
    """
    try:
        return _write(value, cargo)
    except Exception as error:
        raise _send_error(value, name, error) from error


def _write(value: object, cargo: Cargo) -> bytes:
    before = context.get_spawning_popen()
    context.set_spawning_popen(cargo)  # type: ignore[arg-type]
    try:
        with suppress(Exception):  # whatever it is: by value it may work, or say better why not
            return _write_with(_PlainPickler, value, cargo)
        cargo.empty()
        return _write_by_value(value, cargo)
    finally:
        context.set_spawning_popen(before)


def _write_with(kind: Callable[..., Any], value: object, cargo: Cargo) -> bytes:
    sink = _Sink(cargo)
    kind(sink, pickle.HIGHEST_PROTOCOL, True, cargo.take_buffer).dump(value)
    return sink.getvalue()


def _write_by_value(value: object, cargo: Cargo | None = None) -> bytes:
    with signals.importing():
        from .byvalue import ByValuePickler

    return _write_with(ByValuePickler, value, cargo or Cargo())


def dumps_result(value: object, cargo: Cargo | None = None, *, forked: bool = False) -> bytes:
    """Writes an object on its way back, to a process that has everything this one was sent.

    Args:
        value: The object.
        cargo: Where its big buffers are collected.
        forked: Whether this process is a copy of that one, with the same `__main__`.

    Raises:
        SendError: When a part of it cannot be sent.
    """
    cargo = cargo or Cargo()
    try:
        try:
            return _write_with(ForkingPickler if forked else _PlainPickler, value, cargo)
        except Exception:  # by value it may work, or say better why not
            cargo.empty()
            return _write_by_value(value, cargo)
    except Exception as error:
        raise _send_error(value, "the result", error) from error


def loads(data: bytes | memoryview, fds: list[int], buffers: Iterable[Any] | None = None) -> Any:
    """Reads what `dumps` wrote, in the child.

    Args:
        data: The stream.
        fds: The descriptors that came along.
        buffers: What came beside the stream.
    """
    inherited[:] = fds
    return pickle.loads(data, buffers=buffers)  # noqa: S301  # from the process that started us


def definitions_of_main() -> dict[str, bytes]:
    """Writes each function and class of `__main__`, for a child that objects may be sent to later.

    What comes through a queue names its class. A fresh interpreter has none of `__main__`'s, and
    must not run it to get them. Those that cannot be sent are left out.
    """
    found = {}
    for name, value in list(vars(sys.modules["__main__"]).items()):
        if isinstance(value, FunctionType | type) and value.__module__ in {"__main__", None}:
            with suppress(Exception):
                found[name] = _write_by_value(value)
    return found


def define_in_main(definitions: dict[str, bytes]) -> None:
    """Gives this process's `__main__` the parent's functions and classes, each when asked for."""
    main = sys.modules["__main__"]

    def find(name: str) -> Any:
        if name not in definitions:
            raise AttributeError(f"module '__main__' has no attribute {name!r}")
        value = pickle.loads(definitions[name])  # noqa: S301  # from the process that started us
        setattr(main, name, value)
        return value

    main.__getattr__ = find  # type: ignore[method-assign]


def needs_cloudpickle(data: bytes) -> bool:
    """Whether reading this needs cloudpickle, which takes as long to import as all the rest."""
    return b"cloudpickle" in data


_importable: dict[tuple[str, int], bool] = {}


def is_importable(module: str | None) -> bool:
    """Whether a fresh interpreter with our `sys.path` could import a module."""
    if module in {None, "__main__", "__mp_main__"}:
        return False
    assert module is not None
    loaded = sys.modules.get(module)
    key = (module, id(loaded))
    if key not in _importable:
        _importable[key] = _is_findable(module)
    return _importable[key]


def _is_findable(module: str) -> bool:
    spec = getattr(sys.modules.get(module), "__spec__", None)
    if spec is not None and spec.origin in {"built-in", "frozen"}:
        return True
    parent = module.rpartition(".")[0]
    if parent and not is_importable(parent):
        return False
    path = getattr(sys.modules.get(parent), "__path__", None) if parent else None
    for finder in sys.meta_path:
        found = None
        with suppress(Exception):
            found = finder.find_spec(module, path)
        if found is not None:
            # the same name may lead elsewhere than where ours came from
            return spec is None or found.origin == spec.origin
    return False


def _send_error(value: object, name: str, error: Exception) -> SendError:
    with signals.importing():
        from . import culprit  # nobody needs it who sends what can be sent

    path, problem = culprit.find(value, name, error, lambda part: _write(part, Cargo()))
    return SendError(path or "it", problem)
