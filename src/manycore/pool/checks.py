"""What a user asks a pool for is checked, and told by the name under which it was given. Pure."""

from __future__ import annotations

import math
import operator
import reprlib
from typing import Any, Final

LONGEST: Final = 1e9  # seconds, 31 years: timers do not count much further


def whole(name: str, value: Any, least: int = 1) -> int:
    """Gives a whole number.

    Args:
        name: The argument's.
        value: What was given.
        least: The smallest that is allowed.

    Raises:
        ValueError: When it is none, or below that.

    Example:
        >>> whole("retries", -1, 0)
        Traceback (most recent call last):
            ...
        ValueError: retries must be a whole number from 0, not -1
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number from {least}, not {reprlib.repr(value)}")
    return number


def given(least: int = 1, /, **arguments: Any) -> int | None:
    """Gives a whole number that has several names: the one that was given; None when none was.

    Raises:
        ValueError: When it cannot be, or two were given.

    Example:
        >>> given(processes=None, workers=2)
        2
    """
    found = {name: value for name, value in arguments.items() if value is not None}
    if len(found) > 1:
        raise ValueError(f"{' and '.join(found)} are the same thing: give one of them")
    for name, value in found.items():
        return whole(name, value, least)
    return None


def seconds(name: str, value: Any, *, zero: bool) -> float:
    """Gives a time.

    Args:
        name: The argument's.
        value: What was given.
        zero: Whether it may be 0.

    Raises:
        ValueError: When it cannot be.

    Example:
        >>> seconds("timeout", "3", zero=False)
        Traceback (most recent call last):
            ...
        ValueError: timeout must be a positive number of seconds, not '3'
    """
    number = _real(value)
    if 0 < number < math.inf or (zero and number == 0):
        return min(number, LONGEST)
    words = "a number of seconds from 0" if zero else "a positive number of seconds"
    raise ValueError(f"{name} must be {words}, not {reprlib.repr(value)}")


def size(name: str, value: Any) -> int | None:
    """Gives a number of bytes; None for None.

    Raises:
        ValueError: When it cannot be.

    Example:
        >>> size("max_memory_per_worker", 1e9)
        1000000000
    """
    if value is None:
        return None
    number = _real(value)
    if not 1 <= number < math.inf:
        raise ValueError(f"{name} must be a number of bytes from 1, not {reprlib.repr(value)}")
    return int(number)


def _real(value: Any) -> float:
    """Gives a number; nan for what is none."""
    if isinstance(value, bool | str | bytes | bytearray):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
