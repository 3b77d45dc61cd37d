"""Objects to bytes and back: pickle where it can, cloudpickle where pickle cannot."""

from __future__ import annotations

import pickle
from typing import Any


def dumps(value: object) -> bytes:
    """Writes an object; functions and classes that cannot be imported travel by value.

    Raises:
        TypeError: When a part of it cannot be sent; the message says which.

    Example:
        >>> loads(dumps(lambda x: x + 1))(2)
        3
    """
    import cloudpickle  # the side that reads has no need of it, unless something went by value

    try:
        data: bytes = cloudpickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise TypeError(f"{error}") from error
    return data


def loads(data: bytes) -> Any:
    """Reads what `dumps` wrote. Never give it bytes of strangers: reading runs code."""
    return pickle.loads(data)  # noqa: S301  # our own bytes, over a descriptor without a name
