"""The parent's memory while a million tasks pass through a pool.

Run it from the repository:  python benchmarks/pool/memory.py [--tasks 1000000]

Each way in which results can be consumed one by one gets a tenth of that many tasks, and then all.
The private memory is read after each: what is held for each task would show as the difference. It
is not read half way, where the items that are read ahead would be most of a difference.
"""

from __future__ import annotations

import argparse
import queue
import sys
from collections.abc import Callable, Iterator

import psutil
from pool_work import itself

from manycore import Pool

SLACK = 2.0  # MiB: an allocator's own
PATIENCE = 60.0  # seconds for one result
IN_FLIGHT = 1_000  # calls that are submitted and not yet consumed


def memory() -> float:
    """Gives this process's private memory in MiB."""
    return float(psutil.Process().memory_full_info().uss) / 2**20


def by_imap(pool: Pool, tasks: int) -> Iterator[int]:
    return iter(pool.imap(itself, (n for n in range(tasks))))


def by_imap_unordered(pool: Pool, tasks: int) -> Iterator[int]:
    return iter(pool.imap_unordered(itself, (n for n in range(tasks))))


def by_submit(pool: Pool, tasks: int) -> Iterator[int]:
    for first in range(0, tasks, IN_FLIGHT):
        futures = [pool.submit(itself, n) for n in range(first, min(first + IN_FLIGHT, tasks))]
        for future in futures:
            yield future.result()


def by_callback(pool: Pool, tasks: int) -> Iterator[int]:
    """Calls back, and lets go of the call's own handle at once."""
    given: queue.SimpleQueue[int] = queue.SimpleQueue()
    for first in range(0, tasks, IN_FLIGHT):
        numbers = range(first, min(first + IN_FLIGHT, tasks))
        for n in numbers:
            pool.apply_async(itself, (n,), callback=given.put)
        for _ in numbers:
            yield given.get(timeout=PATIENCE)


WAYS: dict[str, Callable[[Pool, int], Iterator[int]]] = {
    "imap": by_imap,
    "imap_unordered": by_imap_unordered,
    "submit": by_submit,
    "apply_async with a callback": by_callback,
}


def consume(way: Callable[[Pool, int], Iterator[int]], pool: Pool, tasks: int) -> float:
    """Has so many tasks done; gives the memory after that."""
    assert sum(way(pool, tasks)) == tasks * (tasks - 1) // 2, "a result is wrong or missing"
    return memory()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    options = parser.parse_args()
    grew = []
    for name, way in WAYS.items():
        with Pool(2) as pool:
            early = consume(way, pool, options.tasks // 10)
            late = consume(way, pool, options.tasks)
        print(f"{options.tasks} tasks by {name}: {early:.1f} -> {late:.1f} MiB", flush=True)
        if late - early > SLACK:
            grew.append(name)
    sys.exit(f"PROBLEM: memory grew by {', '.join(grew)}" if grew else None)


if __name__ == "__main__":
    main()
