"""Big data: manycore's pool beside the standard library's, in turns, in one run.

Run it from the repository:  python benchmarks/pool/big_data.py
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pool_work as work

import manycore

WORKERS = 2


def milliseconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1e3


def in_turns(rounds: int, **actions: Callable[[], object]) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            found[name].append(milliseconds(action))
    return {name: statistics.median(times) for name, times in found.items()}


def share(pool: Any, array: Any, tasks: int) -> None:
    handle = pool.share(array)
    assert sum(pool.starmap(work.element, [(handle, 0)] * tasks)) == tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    array = np.ones(12_500_000)
    print(
        f"Python {platform.python_version()}, {WORKERS} workers, {options.rounds} rounds in turns"
    )
    print("| ms, median | manycore | beside it | ratio |")
    print("|---|---|---|---|")
    with manycore.Pool(WORKERS) as ours:
        ours.map(work.total, [array[:10]] * 10)  # its template is up before the other one forks
        with multiprocessing.get_context("fork").Pool(WORKERS) as theirs:
            theirs.map(work.total, [array[:10]] * 10)
            compare(ours, theirs, array, options.rounds)


def compare(ours: Any, theirs: Any, array: Any, rounds: int) -> None:
    text = b"x" * 100_000_000
    for title, value in (("array", array), ("bytes", text)):
        found = in_turns(
            rounds,
            ours=lambda value=value: ours.apply(work.itself, (value,)),  # type: ignore[misc]
            theirs=lambda value=value: theirs.apply(work.itself, (value,)),  # type: ignore[misc]
        )
        ratio = found["theirs"] / found["ours"]
        print(
            f"| 100 MB of {title}, there and back | {found['ours']:.0f} "
            f"| Pool.apply {found['theirs']:.0f} | {ratio:.1f}x |"
        )
    found = in_turns(
        rounds,
        one=lambda: share(ours, array, 1),
        hundred=lambda: share(ours, array, 100),
    )
    print(
        f"| a shared array of 100 MB, read by 100 tasks | {found['hundred']:.0f} "
        f"| by one {found['one']:.0f} | {found['hundred'] / found['one']:.2f} of it |"
    )


if __name__ == "__main__":
    main()
