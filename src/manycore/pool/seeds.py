"""Random numbers that are the same on any number of workers.

Each task draws from a stream of its own, which is made of the map's seed and the task's place in
the map: neither the worker that runs it, nor what ran there before, nor a second try changes it.

`random` and `numpy.random` are seeded before a task and are afterwards as they were, so tasks
without a seed go on drawing different numbers. Whatever else draws, takes `task_seed()`.
"""

from __future__ import annotations

import importlib
import importlib.util
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Final

_BYTES: Final = 32  # of a task's seed: as much chance as a generator can take in
_WORD: Final = 1 << 32

_current: list[int] = []  # the seeds of the tasks that run here, the innermost last


def task_seed() -> int | None:
    """Gives the seed of the task that runs: 256 bits, for generators of your own.

    Returns:
        The seed; None in a task that has none.

    Example:
        >>> def draw(x):
        ...     import random
        ...     return random.Random(task_seed()).random()
        >>> seeded(draw, 7)(1) == seeded(draw, 7)(2)
        True
    """
    return _current[-1] if _current else None


def seeded(function: Callable[..., Any], seed: int) -> Seeded:
    """Gives a function that draws the same random numbers in every call, for `submit`.

    Args:
        function: The function.
        seed: Any whole number.

    Example:
        >>> import random
        >>> seeded(random.random, 7)() == seeded(random.random, 7)()
        True
    """
    return Seeded(function, seed)


class Seeded:
    """A function whose calls have a stream of random numbers.

    Args:
        func: The function. Named as in `functools.partial`.
        seed: The seed.
    """

    def __init__(self, func: Callable[..., Any], seed: int) -> None:
        self.func = func
        self.seed = checked(seed)
        self.__module__ = getattr(func, "__module__", None) or __name__
        self.__qualname__ = getattr(func, "__qualname__", None) or repr(func)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function, at the beginning of its stream."""
        with stream(self.seed, 0):
            return self.func(*args, **kwargs)


class SeededMap(Seeded):
    """The same for a map: called with a number and an item.

    Args:
        func: The function.
        seed: The seed.
        star: Whether items are tuples of arguments.
    """

    def __init__(self, func: Callable[..., Any], seed: int, *, star: bool) -> None:
        super().__init__(func, seed)
        self.star = star

    def __call__(self, numbered: tuple[int, Any]) -> Any:
        """Calls the function with an item, at the beginning of the item's stream."""
        place, item = numbered
        with stream(self.seed, place):
            return self.func(*item) if self.star else self.func(item)


class Numbered(Sequence[tuple[int, Any]]):
    """Items with their numbers; made when they are asked for.

    Args:
        items: The items.

    Example:
        >>> Numbered("abc")[1:]
        [(1, 'b'), (2, 'c')]
    """

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, place: Any) -> Any:
        numbers, items = range(len(self._items))[place], self._items[place]
        if isinstance(place, slice):
            return list(zip(numbers, items, strict=True))
        return numbers, items


def number(items: Iterable[Any]) -> Iterable[tuple[int, Any]]:
    """Gives items with their numbers, in a sequence if they are in one."""
    return Numbered(items) if isinstance(items, Sequence) else enumerate(items)


def checked(seed: Any) -> int:
    """Checks what a user gives as a seed.

    Raises:
        ValueError: When it is no whole number.
    """
    try:
        if isinstance(seed, bool):
            raise TypeError
        return operator.index(seed)
    except TypeError:
        raise ValueError(f"seed must be a whole number, not {seed!r}") from None


def derive(seed: int, number: int) -> int:
    """Gives the seed of a map's task.

    Example:
        >>> derive(1, 2) == derive(1, 2) != derive(1, 3)
        True
    """
    text = f"{seed}/{number}".encode()
    from hashlib import blake2b

    return int.from_bytes(blake2b(text, digest_size=_BYTES).digest())


@contextmanager
def stream(seed: int, number: int) -> Iterator[None]:
    """Lets a block draw from a task's stream; afterwards all is as it was."""
    own = derive(seed, number)
    generators = _generators()
    before = [save() for save, _, _ in generators]
    _current.append(own)
    for _, start, _ in generators:
        start(own)
    try:
        yield
    finally:
        _current.pop()
        for (_, _, restore), state in zip(generators, before, strict=True):
            restore(state)


_Generator = tuple[Callable[[], Any], Callable[[int], Any], Callable[[Any], Any]]


def _generators() -> list[_Generator]:
    """Gives the generators that everybody in a process shares: how to save, seed and restore."""
    import random

    found: list[_Generator] = [(random.getstate, random.seed, random.setstate)]
    numpy = _numpy_random()
    if numpy is not None:
        found.append((numpy.get_state, lambda own: numpy.seed(_words(own)), numpy.set_state))
    torch = sys.modules.get("torch")
    if torch is not None:
        found.append(
            (torch.get_rng_state, lambda own: torch.manual_seed(own % 2**63), torch.set_rng_state)
        )
    return found


@cache
def _numpy_random() -> Any:
    """Gives `numpy.random`, if there is numpy: a task may import it only when it runs."""
    with suppress(Exception):
        if importlib.util.find_spec("numpy") is not None:
            return importlib.import_module("numpy.random")
    return None


def _words(own: int) -> list[int]:
    return [own // _WORD**place % _WORD for place in range(_BYTES // 4)]
