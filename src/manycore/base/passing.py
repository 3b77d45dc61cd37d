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
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import context
from multiprocessing.reduction import ForkingPickler
from types import FunctionType
from typing import Any, Final

from manycore.errors import SendError

_DEEPEST: Final = 12  # levels of a nested object that an error message is searched in

#: the descriptors that this process was given at its start, in the order they were sent
inherited: list[int] = []


class Cargo:
    """What is collected while an object is written: descriptors that must go along.

    Takes the place of the standard library's `Popen` object while objects are pickled.
    """

    def __init__(self) -> None:
        self.fds: list[int] = []
        self.talks = False  # something was sent through which objects may come later

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
    """
    try:
        return _write(value, cargo)
    except Exception as error:
        path, culprit = _culprit(value, name, error)
        raise SendError(path or "it", _in_words(culprit)) from culprit


def _write(value: object, cargo: Cargo) -> bytes:
    before = context.get_spawning_popen()
    context.set_spawning_popen(cargo)  # type: ignore[arg-type]
    try:
        try:
            file = io.BytesIO()
            _PlainPickler(file, pickle.HIGHEST_PROTOCOL).dump(value)
        except Exception:  # whatever it was: by value it may work, or say better why not
            cargo.fds.clear()
            return _write_by_value(value)
        return file.getvalue()
    finally:
        context.set_spawning_popen(before)


def _write_by_value(value: object) -> bytes:
    from .byvalue import ByValuePickler

    file = io.BytesIO()
    ByValuePickler(file).dump(value)
    return file.getvalue()


def dumps_result(value: object, *, forked: bool = False) -> bytes:
    """Writes an object on its way back, to a process that has everything this one was sent.

    Args:
        value: The object.
        forked: Whether this process is a copy of that one, with the same `__main__`.

    Raises:
        SendError: When a part of it cannot be sent.
    """
    try:
        try:
            file = io.BytesIO()
            plain = ForkingPickler if forked else _PlainPickler
            plain(file, pickle.HIGHEST_PROTOCOL).dump(value)
        except Exception:  # by value it may work, or say better why not
            return _write_by_value(value)
        return file.getvalue()
    except Exception as error:
        path, culprit = _culprit(value, "the result", error)
        raise SendError(path, _in_words(culprit)) from culprit


def loads(data: bytes | memoryview, fds: list[int]) -> Any:
    """Reads what `dumps` wrote, in the child; the descriptors are those that came along."""
    inherited[:] = fds
    return pickle.loads(data)  # noqa: S301  # from the process that started this one


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


def _culprit(value: object, name: str, error: Exception) -> tuple[str, Exception]:
    """Finds the innermost part of an object that cannot be sent, and what it raises."""
    for _ in range(_DEEPEST):
        for part, inner in _parts(value):
            try:
                _write(inner, Cargo())
            except Exception as problem:
                name, value, error = _join(name, part), inner, problem
                break
        else:
            break
    return name, error


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """Gives what an object consists of, with how Python would spell it after the object's name."""
    match value:
        case dict():
            yield from ((f"[{key!r}]", item) for key, item in value.items())
        case list() | tuple():
            yield from ((f"[{index}]", item) for index, item in enumerate(value))
        case set() | frozenset():
            yield from ((f"{{{item!r}}}", item) for item in value)
        case FunctionType():
            yield from _parts_of_function(value)
        case _:
            if hasattr(value, "__self__") and hasattr(value, "__func__"):
                yield ".__self__", value.__self__
            attributes = getattr(value, "__dict__", None)
            whole = isinstance(value, type) or hasattr(value, "_semlock")  # a lock of theirs
            if isinstance(attributes, dict) and not whole:
                yield from ((f".{key.lstrip('_')}" if key in _OURS else f".{key}", item)
                            for key, item in attributes.items())  # fmt: skip


_OF_A_FORK: Final = "SemLock created in a fork context"  # what the standard library says of it
_OF_A_FORK_IN_WORDS: Final = (
    "it was made for processes that are forked from this one; make it with "
    "manycore.Lock(), manycore.Queue() and so on, or start the process with start_method='fork'"
)

_OURS: Final = frozenset({"_target", "_args", "_kwargs"})  # of a Process: shown as they were given


def _parts_of_function(function: FunctionType) -> Iterator[tuple[str, object]]:
    names = function.__code__.co_freevars
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        try:
            yield f" (its variable {name!r})", cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for name in function.__code__.co_names:
        if name in function.__globals__ and not is_importable(function.__module__):
            yield f" (its global {name!r})", function.__globals__[name]


def _join(name: str, part: str) -> str:
    return f"{name}{part}" if name else part.lstrip(".")


def _in_words(error: Exception) -> str:
    if _OF_A_FORK in str(error):
        return _OF_A_FORK_IN_WORDS
    return f"{error}" or type(error).__name__
