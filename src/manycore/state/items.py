"""The items of a dict: how they are put and removed, within a transaction.

What a dict knows of itself is how many items there are, and how many of them have a time to live;
those are found by that time in an index of their own.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from typing import Any, Final

from .encoding import dumps, encode_key
from .proxy import ITEMS, META, keep_proxies, read_meta
from .records import expiry, is_expired, order, original, pack
from .store import Store
from .writing import Writing

COUNTS: Final = struct.Struct(">QQ")
TIMES: Final = b"\x02"  # the index: when an item ends, and its place
_MOMENT: Final = struct.Struct(">Q")  # microseconds since the epoch: sorts as bytes
_OVERHEAD: Final = 64  # bytes of a record besides key and value, at most


def put_item(
    writing: Writing,
    txn: Any,
    number: bytes,
    name: bytes,
    data: bytes,
    exact: bytes | None,
    expires: float | None = None,
) -> None:
    """Sets one item, within a transaction."""
    key = number + ITEMS + name
    old = txn.get(key)
    meta = read_meta(txn, number)
    count, timed = COUNTS.unpack(meta)
    if old is None or is_expired(old, time.time()):
        place = writing.order(txn)
    else:  # it keeps its place, and the key that it was first put with
        place, exact = order(old), original(old)
    if old is None:
        count += 1
    elif (ended := expiry(old)) is not None:
        txn.delete(time_key(number, ended, order(old)))
        timed -= 1
    if expires is not None:
        txn.put(time_key(number, expires, place), name)
        timed += 1
    txn.put(key, pack(data, place, exact, expires))
    if (new := COUNTS.pack(count, timed)) != meta:
        txn.put(number + META, new)


def put_items(
    writing: Writing, txn: Any, number: bytes, items: list[tuple[bytes, bytes | None, bytes]]
) -> None:
    """Sets what `prepare` gave, within a transaction."""
    writing.need(sum(len(name) + len(data) + _OVERHEAD for name, _, data in items))
    for name, exact, data in items:
        put_item(writing, txn, number, name, data, exact)


def drop_item(txn: Any, number: bytes, key: bytes, record: bytes) -> None:
    """Removes one item that is there, within a transaction."""
    count, timed = COUNTS.unpack(read_meta(txn, number))
    txn.delete(key)
    moment = expiry(record)
    if moment is not None:
        txn.delete(time_key(number, moment, order(record)))
        timed -= 1
    txn.put(number + META, COUNTS.pack(count - 1, timed))


def time_key(number: bytes, moment: float, place: bytes) -> bytes:
    """Gives the index's key of an item that ends."""
    return number + TIMES + _MOMENT.pack(int(moment * 1e6)) + place


def prepare(store: Store, items: Mapping[Any, Any]) -> list[tuple[bytes, bytes | None, bytes]]:
    """Turns keys and values into bytes: for each the key's, its pickle if needed, and the value's.

    Raises:
        TypeError: One of them cannot be; nothing was written.
    """
    prepared = []
    for key, value in items.items():
        data = dumps(value)
        keep_proxies(store, data)
        prepared.append((*encode_key(key), data))
    return prepared
