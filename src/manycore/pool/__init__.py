"""Pools: many tasks on a few processes, of which any may die at any moment.

`from manycore.pool import ThreadPool` does what it does with `multiprocessing.pool`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .classic import Pool as Pool
    from .threads import ThreadPool as ThreadPool


def __getattr__(name: str) -> Any:
    match name:
        case "Pool":
            from .classic import Pool

            return Pool
        case "ThreadPool":
            from .threads import ThreadPool

            return ThreadPool
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
