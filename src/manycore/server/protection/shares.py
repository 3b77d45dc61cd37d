"""What part of the server's connections each worker may have. Pure."""

from __future__ import annotations


def share(limit: int, workers: int, place: int) -> int:
    """Divides the connections that a server may have among its workers.

    Args:
        limit: How many the server may have.
        workers: How many workers there are.
        place: The worker's, from 1.

    Returns:
        How many that worker may have; all of them together have `limit`.

    Example:
        >>> [share(10, 4, place) for place in (1, 2, 3, 4)]
        [3, 3, 2, 2]
    """
    each, rest = divmod(limit, workers)
    return each + (place <= rest)
