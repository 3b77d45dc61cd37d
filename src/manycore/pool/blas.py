"""Threads that libraries start by themselves: each worker gets its share of the CPUs, and no more.

A BLAS or OpenMP library starts as many threads as there are CPUs, in every worker: on 16 CPUs 16
workers would have 256. It reads its limit from the environment when it is loaded, so the limit must
be there before anything else is: before the initializer, whose import may load it.

Whoever has set one of the variables has decided: that one is left alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from manycore.base.cpus import cpu_count

VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)

#: where one of these is loaded already, preloaded in the template say, the environment is too late
_LOADERS: Final = ("numpy", "scipy", "sklearn", "torch", "numexpr")


def share(workers: int) -> int:
    """Gives how many threads each of so many workers may have.

    Example:
        >>> share(10_000)
        1
    """
    return max(1, cpu_count() // workers)


def limit(threads: int) -> None:
    """Limits what is loaded from now on, in this process; and what is loaded already, if it can."""
    decided = [name for name in VARIABLES if name in os.environ]
    for name in VARIABLES:
        os.environ.setdefault(name, str(threads))
    if not decided and any(name in sys.modules for name in _LOADERS):
        with suppress(Exception):  # no such library, or one that it does not know
            import threadpoolctl

            threadpoolctl.threadpool_limits(threads)


class _Limit:
    """Limits the process that reads it."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def __reduce__(self) -> Any:
        return limit, (self._threads,)


class Prepared:
    """An initializer, or none, that is read only after the limit has been set.

    A pickle is read from its beginning: what stands before a function's name happens before the
    function's module is imported.

    Args:
        threads: How many each worker may have.
        initializer: The user's.
    """

    def __init__(self, threads: int, initializer: Callable[..., object] | None) -> None:
        self.initializer = initializer
        self._threads = threads

    def __reduce__(self) -> Any:
        return _second, (_Limit(self._threads), self.initializer)

    def __call__(self, *args: Any) -> None:
        """Never: what is read is the user's own initializer. It is called where one is expected."""
        raise NotImplementedError


def _second(_: object, initializer: Callable[..., object] | None) -> Any:
    return initializer
