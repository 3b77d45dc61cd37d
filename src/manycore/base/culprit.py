"""Which part of an object cannot be sent, and why: what an error message should say.

The parts of an object are tried one by one, the parts of the one that fails after that, and so on:
slow, and done once an error is certain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Final

from .passing import is_importable

_DEEPEST: Final = 12  # levels: whoever nests deeper gets a shorter path
_AS_GIVEN: Final = frozenset({"_target", "_args", "_kwargs"})  # attributes of a Process

_OF_A_FORK: Final = "SemLock created in a fork context"  # what the standard library says of it
_OF_A_FORK_IN_WORDS: Final = (
    "it was made for processes that are forked from this one; make it with "
    "manycore.Lock(), manycore.Queue() and so on, or start the process with start_method='fork'"
)


def find(
    value: object, name: str, error: Exception, write: Callable[[object], object]
) -> tuple[str, str]:
    """Finds the innermost part of an object that cannot be written.

    Args:
        value: The object.
        name: What it is called; nothing when its attributes are spelled alone.
        error: What writing it raised.
        write: Raises for what cannot be written.

    Returns:
        Which part, as Python would spell it, and why it cannot be written.
    """
    for _ in range(_DEEPEST):
        for part, inner in _parts(value):
            try:
                write(inner)
            except Exception as problem:
                name, value, error = _join(name, part), inner, problem
                break
        else:
            break
    return name, _in_words(error)


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
        case type():
            return
        case _:
            yield from _parts_of_instance(value)


def _parts_of_function(function: FunctionType) -> Iterator[tuple[str, object]]:
    names = function.__code__.co_freevars
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        try:
            yield f" (its variable {name!r})", cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    if is_importable(function.__module__):
        return
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield f" (its global {name!r})", function.__globals__[name]


def _parts_of_instance(value: object) -> Iterator[tuple[str, object]]:
    if hasattr(value, "__func__"):
        yield ".__self__", getattr(value, "__self__", None)
    attributes = getattr(value, "__dict__", None)
    if not isinstance(attributes, dict) or hasattr(value, "_semlock"):  # a lock is a whole
        return
    for name, item in attributes.items():
        yield f".{name.lstrip('_') if name in _AS_GIVEN else name}", item


def _join(name: str, part: str) -> str:
    return f"{name}{part}" if name else part.lstrip(".")


def _in_words(error: Exception) -> str:
    if _OF_A_FORK in str(error):
        return _OF_A_FORK_IN_WORDS
    return f"{error}" or type(error).__name__
