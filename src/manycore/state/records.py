"""What a dict keeps beside a value. Pure.

A record is the value's pickle, and behind it, where unpickling does not look: the key's own pickle
and its length, if the key's bytes do not tell it; the moment at which it expires, if it does; its
place in the order of insertion; and one byte that says which of these there are.
"""

from __future__ import annotations

import struct
from typing import Final

ORDER_BYTES: Final = 9
_KEYED, _TIMED = 1, 2
TAIL: Final = ORDER_BYTES + 1  # bytes of a record behind a value, when nothing is special
_MOMENT = struct.Struct(">d")
_LENGTH = struct.Struct(">I")


def pack(
    data: bytes, order: bytes, original: bytes | None = None, expires: float | None = None
) -> bytes:
    """Puts a record together.

    Args:
        data: The value's pickle.
        order: Where it stands among the others.
        original: The key's pickle, if it is needed.
        expires: When it ends, in seconds since the epoch, if it does.

    Example:
        >>> record = pack(b"v.", bytes(9), expires=5.0)
        >>> expiry(record), original(record), is_expired(record, 4.9), is_expired(record, 5.0)
        (5.0, None, False, True)
    """
    flags = 0
    if original is not None:
        data += original + _LENGTH.pack(len(original))
        flags |= _KEYED
    if expires is not None:
        data += _MOMENT.pack(expires)
        flags |= _TIMED
    return data + order + bytes((flags,))


def order(record: bytes) -> bytes:
    """Gives its place."""
    return record[-TAIL:-1]


def expiry(record: bytes) -> float | None:
    """Gives the moment at which it ends."""
    if not record[-1] & _TIMED:
        return None
    moment: float = _MOMENT.unpack_from(record, len(record) - TAIL - _MOMENT.size)[0]
    return moment


def is_expired(record: bytes, now: float) -> bool:
    """Whether it has ended."""
    moment = expiry(record)
    return moment is not None and moment <= now


def original(record: bytes) -> bytes | None:
    """Gives the key's pickle, if the record has it."""
    flags = record[-1]
    if not flags & _KEYED:
        return None
    end = len(record) - TAIL - (_MOMENT.size if flags & _TIMED else 0) - _LENGTH.size
    return record[end - _LENGTH.unpack_from(record, end)[0] : end]
