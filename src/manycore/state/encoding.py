"""Keys and values as bytes. Pure: nothing is stored here.

Guarantees for keys: what Python calls equal among numbers, text, bytes, None, and tuples and
frozensets of those has the same bytes, as in a builtin dict: `1`, `1.0` and `True` are one key.
Other hashable objects are the same key when they pickle to the same bytes.

A key is one byte that says its kind, and its content. What is too long for the store's limit is
replaced by its hash; such a key, and one whose bytes do not tell its type (`True` reads back as 1),
is kept beside its value to be given back as it was.
"""

from __future__ import annotations

import io
import pickle
import struct
from hashlib import blake2b
from typing import Any, Final

from manycore.base import codec

LONGEST: Final = 480  # bytes of a key: LMDB takes 511, and containers put a prefix before them
SHORT: Final = LONGEST // 4  # characters of a text that fits, whatever they are
PROTOCOL: Final = 5
#: what pickle raises for what it cannot; anything else comes from a value's own code
UNPICKLABLE: Final = (pickle.PicklingError, TypeError, AttributeError, RecursionError)
_DOUBLE = struct.Struct(">d")
_LENGTH = struct.Struct(">I")


def dumps(value: object) -> bytes:
    """Writes a value; by plain pickle where that can, since it is fastest, else by cloudpickle.

    Raises:
        TypeError: When no pickle can.

    Example:
        >>> loads(dumps({"a": [1, 2]}))
        {'a': [1, 2]}
    """
    try:
        return pickle.dumps(value, PROTOCOL)
    except UNPICKLABLE:  # lambdas, local classes; or nothing at all can, and then codec says so
        return codec.dumps(value)


#: reads what `dumps` wrote, from a file that nobody else can write (see home.py); bytes that stand
#: behind the pickle are ignored. The builtin itself: a function around it would cost as much again
loads: Final = pickle.loads


def encode_key(key: Any) -> tuple[bytes, bytes | None]:
    """Gives a key's bytes and, where those do not tell the key itself, its pickle.

    Raises:
        TypeError: When it is unhashable, or cannot be pickled.

    Example:
        >>> encode_key("a"), encode_key(1) == encode_key(1)
        ((b'sa', None), True)
        >>> encode_key(True)[0] == encode_key(1)[0], decode_key(*encode_key(True))
        (True, True)
    """
    kind = type(key)
    if kind is str and len(key) <= SHORT:
        try:
            return b"s" + key.encode(), None
        except UnicodeEncodeError:  # a lone surrogate: a file's name, say
            return b"s" + key.encode("utf-8", "surrogatepass"), None
    if kind is int and -(1 << 256) < key < 1 << 256:
        return b"i%x" % key, None
    name, exact = _canonical(key)
    if len(name) > LONGEST:
        return b"h" + blake2b(name, digest_size=32).digest(), dumps(key)
    return name, None if exact else dumps(key)


def decode_key(name: bytes, original: bytes | None = None) -> Any:  # noqa: PLR0911  # a kind, a line
    """Reads what `encode_key` wrote."""
    if original is not None:
        return loads(original)
    kind, content = name[:1], name[1:]
    match kind:
        case b"s":
            return content.decode("utf-8", "surrogatepass")
        case b"i":
            return int(content, 16)
        case b"b":
            return content
        case b"f":
            return _DOUBLE.unpack(content)[0]
        case b"n":
            return None
        case b"t":
            return tuple(decode_key(part) for part in _split(content))
        case b"z":
            return frozenset(decode_key(part) for part in _split(content))
        case b"p":
            return loads(content)
    raise ValueError(f"{name!r} is no key")


def _canonical(key: Any) -> tuple[bytes, bool]:  # noqa: PLR0911  # a kind, a line
    """Gives a key's bytes, and whether they tell its type too."""
    kind = type(key)
    if key is None:
        return b"n", True
    if _is_plain(key, str):
        return b"s" + str.encode(key, "utf-8", "surrogatepass"), kind is str
    if _is_plain(key, int):
        return b"i%x" % int(key), kind is int
    if _is_plain(key, bytes):
        return b"b" + bytes(key), kind is bytes
    if _is_plain(key, float):
        if key.is_integer():
            return b"i%x" % int(key), False
        return b"f" + _DOUBLE.pack(key), kind is float
    if _is_plain(key, tuple):
        name, exact = _joined(b"t", [_canonical(part) for part in key])
        return name, exact and kind is tuple
    if _is_plain(key, frozenset):
        name, exact = _joined(b"z", sorted(_canonical(part) for part in key))
        return name, exact and kind is frozenset
    hash(key)  # the builtin's own TypeError for a list or a dict
    return b"p" + _pickle_by_value(key), True


def _is_plain(key: Any, builtin: type) -> bool:
    """Whether a key equals what its builtin base would be: an IntEnum does, a custom __eq__ not."""
    kind = type(key)
    return kind is builtin or (
        isinstance(key, builtin)
        and kind.__eq__ is builtin.__eq__
        and kind.__hash__ is builtin.__hash__
    )


def _joined(kind: bytes, parts: list[tuple[bytes, bool]]) -> tuple[bytes, bool]:
    name = kind + b"".join(_LENGTH.pack(len(part)) + part for part, _ in parts)
    return name, all(exact for _, exact in parts)


def _split(content: bytes) -> list[bytes]:
    parts = []
    while content:
        end = 4 + _LENGTH.unpack_from(content)[0]
        parts.append(content[4:end])
        content = content[end:]
    return parts


def _pickle_by_value(key: object) -> bytes:
    """Pickles without a memo: equal objects must not differ by which of their parts are one."""
    target = io.BytesIO()
    pickler = pickle.Pickler(target, PROTOCOL)
    pickler.fast = True
    try:
        pickler.dump(key)
    except UNPICKLABLE:
        return codec.dumps(key)
    return target.getvalue()
