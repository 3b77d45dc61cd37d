"""A binary heap whose places are read one by one. Pure: it says what to write, and writes nothing.

The smallest item is at place 0; no item is smaller than the one at half its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Read = Callable[[int], bytes]
Load = Callable[[bytes], Any]


def push(read: Read, size: int, data: bytes, load: Load) -> list[tuple[int, bytes]]:
    """Adds an item to a heap of `size`; gives what belongs at which places then.

    Example:
        >>> push([b"2", b"5"].__getitem__, 2, b"1", int)
        [(2, b'2'), (0, b'1')]
    """
    writes = []
    item = load(data)
    place = size
    while place:
        parent = (place - 1) // 2
        above = read(parent)
        if not item < load(above):
            break
        writes.append((place, above))
        place = parent
    return [*writes, (place, data)]


def take(read: Read, size: int, load: Load) -> list[tuple[int, bytes]]:
    """Removes the smallest item; gives what belongs at which places then. The last place is free.

    Example:
        >>> take([b"1", b"5", b"2"].__getitem__, 3, int)
        [(0, b'2')]
    """
    writes: list[tuple[int, bytes]] = []
    size -= 1
    if not size:
        return writes
    data = read(size)
    item = load(data)
    place = 0
    while (child := 2 * place + 1) < size:
        below, below_data = load(read(child)), read(child)
        if child + 1 < size:
            other_data = read(child + 1)
            other = load(other_data)
            if other < below:
                child, below, below_data = child + 1, other, other_data
        if not below < item:
            break
        writes.append((place, below_data))
        place = child
    return [*writes, (place, data)]
