"""Every library behind one face: `submit`, `result`, `again`, `end`."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

WORKERS = 2
Initializer = Callable[[], None] | None


class Library:
    """A pool of two workers.

    Args:
        initializer: What each worker calls first.
    """

    def __init__(self, initializer: Initializer = None) -> None:
        self.initializer = initializer
        self.pool: Any = self.make()

    def make(self) -> Any:
        raise NotImplementedError

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.pool.submit(function, *args)

    def result(self, handle: Any, timeout: float) -> Any:
        return handle.result(timeout)

    def again(self) -> None:
        """Does what the library's documents say is to be done after a failure."""

    def end(self) -> None:
        self.pool.shutdown(wait=False)


class Classic(Library):
    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.pool.apply_async(function, args)

    def result(self, handle: Any, timeout: float) -> Any:
        return handle.get(timeout)

    def end(self) -> None:
        self.pool.terminate()


class StandardPool(Classic):
    def make(self) -> Any:
        return multiprocessing.get_context("fork").Pool(WORKERS, self.initializer)


class StandardExecutor(Library):
    def make(self) -> Any:
        fork = multiprocessing.get_context("fork")
        return ProcessPoolExecutor(WORKERS, fork, self.initializer)


class Loky(Library):
    def make(self) -> Any:
        from loky import get_reusable_executor

        return get_reusable_executor(WORKERS, initializer=self.initializer)

    def again(self) -> None:
        self.pool = self.make()


class Pebble(Library):
    def make(self) -> Any:
        from pebble import ProcessPool

        return ProcessPool(WORKERS, initializer=self.initializer)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.pool.schedule(function, args=args)

    def end(self) -> None:
        self.pool.stop()


class Mpire(Classic):
    def make(self) -> Any:
        from mpire import WorkerPool

        return WorkerPool(WORKERS)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        more = {"worker_init": self.initializer} if self.initializer else {}
        return self.pool.apply_async(function, args, **more)


class Billiard(Classic):
    def make(self) -> Any:
        from billiard import Pool

        return Pool(WORKERS, self.initializer)


class Deadpool(Library):
    def make(self) -> Any:
        from deadpool import Deadpool as Pool

        return Pool(max_workers=WORKERS, initializer=self.initializer)


class Manycore(Library):
    def make(self) -> Any:
        from manycore import Pool

        return Pool(WORKERS, self.initializer)

    def end(self) -> None:
        self.pool.terminate()


LIBRARIES: dict[str, type[Library]] = {
    "multiprocessing.Pool": StandardPool,
    "ProcessPoolExecutor": StandardExecutor,
    "loky": Loky,
    "pebble": Pebble,
    "mpire": Mpire,
    "billiard": Billiard,
    "deadpool": Deadpool,
    "manycore": Manycore,
}
