"""Small tasks: manycore's pool beside the standard library's, in turns, in one run.

Run it from the repository:  python benchmarks/pool/small_tasks.py
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pool_work as work

import manycore

WORKERS = 2
Measure = Callable[[], float]


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def submit_each(pool: Any, count: int) -> None:
    for future in [pool.submit(work.noop, None) for _ in range(count)]:
        future.result()


def apply_async_each(pool: Any, count: int) -> None:
    for result in [pool.apply_async(work.noop, (None,)) for _ in range(count)]:
        result.get()


def apply_each(pool: Any, count: int) -> None:
    for _ in range(count):
        pool.apply(work.noop, (None,))


def in_a(make: Callable[[], Any], use: Callable[[Any], object], count: int) -> Measure:
    """Microseconds a task, in a pool whose workers are up."""

    def measure() -> float:
        with make() as pool:
            list(pool.map(work.noop, range(100)))
            return seconds(lambda: use(pool)) / count * 1e6

    return measure


def rows(n: int) -> dict[str, dict[str, Measure]]:
    few = max(1, n // 50)
    ours = lambda: manycore.Pool(WORKERS)  # noqa: E731
    our_executor = lambda: manycore.Executor(WORKERS)  # noqa: E731
    theirs = lambda: multiprocessing.get_context("fork").Pool(WORKERS)  # noqa: E731
    executor = lambda: ProcessPoolExecutor(WORKERS)  # noqa: E731
    return {
        f"submit + result, {n:,} no-ops": {
            "manycore": in_a(our_executor, lambda p: submit_each(p, n), n),
            "Pool.apply_async": in_a(theirs, lambda p: apply_async_each(p, n), n),
            "ProcessPoolExecutor": in_a(executor, lambda p: submit_each(p, n // 10), n // 10),
        },
        f"apply_async + get, {n:,} no-ops": {
            "manycore": in_a(ours, lambda p: apply_async_each(p, n), n),
            "Pool.apply_async": in_a(theirs, lambda p: apply_async_each(p, n), n),
        },
        f"map, {n:,} no-ops": {
            "manycore": in_a(ours, lambda p: p.map(work.noop, range(n)), n),
            "Pool.map": in_a(theirs, lambda p: p.map(work.noop, range(n)), n),
        },
        f"map, {n:,} numbers returned": {
            "manycore": in_a(ours, lambda p: p.map(work.itself, range(n)), n),
            "Pool.map": in_a(theirs, lambda p: p.map(work.itself, range(n)), n),
        },
        f"imap, {n:,} no-ops": {
            "manycore": in_a(ours, lambda p: list(p.imap(work.noop, range(n))), n),
            "Pool.imap": in_a(theirs, lambda p: list(p.imap(work.noop, range(n))), n),
        },
        f"apply, {few:,} round trips": {
            "manycore": in_a(ours, lambda p: apply_each(p, few), few),
            "Pool.apply": in_a(theirs, lambda p: apply_each(p, few), few),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    print(
        f"Python {platform.python_version()}, {WORKERS} workers, {options.rounds} rounds in turns"
    )
    print("| µs a task, median | manycore | beside it | ratio |")
    print("|---|---|---|---|")
    for title, libraries in rows(options.tasks).items():
        if options.only not in title:
            continue
        found: dict[str, list[float]] = {name: [] for name in libraries}
        for _ in range(options.rounds):
            for name, measure in libraries.items():
                found[name].append(measure())
        mine = statistics.median(found.pop("manycore"))
        for name, values in found.items():
            other = statistics.median(values)
            print(
                f"| {title} | {mine:.2f} | {name} {other:.2f} | {other / mine:.1f}x |", flush=True
            )


if __name__ == "__main__":
    main()
