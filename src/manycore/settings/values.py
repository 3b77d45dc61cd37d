"""What a setting's text may be, and what it becomes.

Each takes a text, or what a TOML file or a program gives, and raises ValueError with the problem.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from typing import Any

from manycore.base.addresses import (
    BindAddress,
    InheritedSocket,
    TcpAddress,
    UnixAddress,
    parse_bind,
)
from manycore.base.cpus import cpu_count

MOST_WORKERS = 500  # more of them spend their time on each other
LONGEST_PROTOCOL = 255  # bytes of an ALPN name (RFC 7301, 3.1)
_ALL_PERMISSIONS = 0o777
_OCTAL = re.compile(r"0?[0-7]{3}")
_SIZE = re.compile(r"(?P<number>[0-9]{1,15})(?P<unit>[KMG]?)", re.IGNORECASE)
_SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30}
_LARGEST_SIZE = 1 << 50  # bytes: more than any machine has
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


def whole(smallest: int, largest: int) -> Callable[[Any], int]:
    """Takes a whole number between two, both included."""

    def parse(value: Any) -> int:
        if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value.strip()):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{value!r} is not a whole number")
        if value < smallest:
            raise ValueError(f"{value} is below {smallest}")
        if value > largest:
            raise ValueError(f"{value} is above {largest}")
        return value

    return parse


def positive_seconds(value: Any) -> float:
    """Takes a number of seconds above 0."""
    found = seconds(value)
    if found == 0:
        raise ValueError(f"{value!r} leaves no time")
    return found


def seconds(value: Any) -> float:
    """Takes a number of seconds from 0, and no infinity."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not 0 <= found < math.inf:
        raise ValueError(f"{value!r} is not a number of seconds")
    return found


def size(value: Any) -> int:
    """Takes bytes, with K, M or G behind them as multiples of 1,024."""
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found:
        value = int(found["number"]) << _SHIFTS[found["unit"].upper()]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_SIZE:
        raise ValueError(f"{value!r} is no size")
    return value


def limit(value: Any) -> float | None:
    """Takes a number of seconds above 0, or `none`."""
    return None if value in {"none", None} else positive_seconds(value)


def one_of(*choices: str) -> Callable[[Any], str]:
    """Takes one of some words, in capitals too."""

    def parse(value: Any) -> str:
        if isinstance(value, str) and value.lower() in choices:
            return value.lower()
        raise ValueError(f"{value!r} is none of {', '.join(choices)}")

    return parse


def switch(value: Any) -> bool:
    """Takes yes or no, in any of their forms."""
    said = value.strip().lower() if isinstance(value, str) else value
    if said in (True, "1", "true", "yes", "on"):
        return True
    if said in (False, "0", "false", "no", "off"):
        return False
    raise ValueError(f"{value!r} is neither yes nor no")


def text(value: Any) -> str:
    """Takes a text that is not empty."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"{value!r} is no name")
    return value


def workers(value: Any) -> int:
    """Takes a number of workers; auto: as many as this process has CPUs."""
    return cpu_count() if value == "auto" else whole(1, MOST_WORKERS)(value)


def binds(value: Any) -> tuple[BindAddress, ...]:
    """Takes one address or several; a text may hold several, separated by commas."""
    if isinstance(value, str):
        value = value.split(",")
    elif isinstance(value, TcpAddress | UnixAddress | InheritedSocket):
        value = [value]
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{value!r} is no address")
    return tuple(_bind(item) for item in value)


def _bind(value: Any) -> BindAddress:
    if isinstance(value, TcpAddress | UnixAddress | InheritedSocket):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no address")
    return parse_bind(value.strip())


def texts(value: Any) -> tuple[str, ...]:
    """Takes one text or several; a text may hold several, separated by commas."""
    if isinstance(value, str | os.PathLike):
        value = os.fspath(value)
        value = value.split(",") if value else ()
    if not isinstance(value, list | tuple) or not all(
        isinstance(item, str | os.PathLike) for item in value
    ):
        raise ValueError(f"{value!r} is neither a text nor several")
    found = tuple(str(os.fspath(item)).strip() for item in value)
    if not all(found):
        raise ValueError("one of them is empty")
    return found


def protocols(value: Any) -> tuple[str, ...]:
    """Takes names of protocols, as ALPN has them."""
    names = texts(value)
    for name in names:
        if not name.isascii() or len(name) > LONGEST_PROTOCOL:
            raise ValueError(f"{name!r} is no protocol's name")
    return names


def networks(value: Any) -> tuple[Any, ...]:
    """Takes networks, and `unix`."""
    if not value:
        return ()
    from ipaddress import IPv4Network, IPv6Network, ip_network

    if not isinstance(value, list | tuple):
        value = (value,)
    found: list[Any] = []
    for item in value:
        if isinstance(item, IPv4Network | IPv6Network):
            found.append(item)
            continue
        if not isinstance(item, str):
            raise ValueError(f"{item!r} is no network")
        for part in map(str.strip, item.split(",")):
            try:
                found.append(part if part == "unix" else ip_network(part))
            except ValueError:
                raise ValueError(f"{part!r} is no network") from None
    return tuple(found)


def permissions(value: Any) -> int | None:
    """Takes permissions as octal digits, or as a number that is one already."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and _OCTAL.fullmatch(value):
        return int(value, 8)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _ALL_PERMISSIONS:
        return value
    raise ValueError(f"{value!r} is not three octal digits")
