"""Which worker a new connection is for. Pure.

The kernel gives connections out in turns, but in a burst whoever is awake takes them all, and
connections that stay open do not end in turns. So a worker that has accepted a connection may hand
it on: to the sibling that has the fewest, when that makes a difference worth the trouble.

Guarantee: when nothing but new connections happens, and whoever accepts them, no worker has more
than `STEP + SLACK * mean` beyond the one that has the fewest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

STEP: Final = 2  # a smaller difference is not made smaller by moving one
SLACK: Final = 1 / 16  # of the mean: what differs by less is not worth a move


def recipient(mine: int, loads: Mapping[int, int]) -> int | None:
    """Chooses who serves a new connection.

    Args:
        mine: How many connections this worker has, the new one included.
        loads: How many each sibling has that takes connections, by the sibling's place.

    Returns:
        The place of the sibling; None to keep it. Workers may have as many as each other, or one
        more or less, and this one has room: so a sibling that is chosen has room too.

    Example:
        >>> recipient(3, {2: 1, 3: 0})
        3
        >>> recipient(2, {2: 1, 3: 1}) is None
        True
    """
    if not loads:
        return None
    place = min(loads, key=lambda one: (loads[one], one))
    least = loads[place]
    mean = (mine + sum(loads.values())) / (1 + len(loads))
    if mine - least < STEP + SLACK * mean:
        return None
    return place
