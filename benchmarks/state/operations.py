"""What the most used operations cost in one process, alone: for comparing one tree with another.

python benchmarks/state/operations.py
PYTHONPATH=path/to/another/tree/src python benchmarks/state/operations.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import manycore


def measure(name: str, operation: Callable[[], Any], times: int = 50_000) -> None:
    taken = []
    for _ in range(7):
        begun = time.perf_counter()
        for _ in range(times):
            operation()
        taken.append((time.perf_counter() - begun) / times * 1e6)
    print(f"{name:22} best {min(taken):6.3f} us   median {statistics.median(taken):6.3f} us")


def main() -> None:
    with manycore.Manager() as manager:
        box, items, jobs = manager.dict(key=0), manager.list(), manager.Queue()
        lock, hits = manager.Lock(), manager.counter()

        def put_and_get() -> None:
            jobs.put(5)
            jobs.get()

        def take_and_release() -> None:
            lock.acquire()
            lock.release()

        measure("dict get", lambda: box["key"])
        measure("dict set", lambda: box.__setitem__("key", 5))
        measure("list append", lambda: items.append(5))
        measure("queue put+get", put_and_get)
        measure("lock acquire+release", take_and_release)
        measure("counter add", hits.add)


if __name__ == "__main__":
    main()
