"""What it costs to start a process: ours beside the standard library's, alternating in one run.

Run it: python benchmarks/process/start.py [rounds]

Prints medians in milliseconds and the two ratios that are promised: ours is start + result of a
no-op, theirs start + join of the same. The template's cold start is the first `start()` of a fresh
program, from the call until the process exists, and is taken in programs of its own.
"""

from __future__ import annotations

import multiprocessing
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from manycore import Process

SPAWN_EVERY = 5  # rounds: it is slow, and few samples of it are enough
COLD_STARTS = 15

COLD = """
import sys, time
sys.path[:0] = {path!r}
import manycore.process.launch  # the program's own imports are not the template's start
from manycore import Process
process = Process(target=int)
began = time.perf_counter()
process.start()
print(time.perf_counter() - began)
process.join()
"""


def noop() -> None:
    pass


def ours() -> float:
    began = time.perf_counter()
    process = Process(target=noop)
    process.start()
    process.result()
    took = time.perf_counter() - began
    process.join()
    return took


def theirs(method: str) -> float:
    began = time.perf_counter()
    process = multiprocessing.get_context(method).Process(target=noop)  # type: ignore[attr-defined]
    process.start()
    process.join()
    return time.perf_counter() - began


def cold() -> float:
    program = COLD.format(path=sys.path)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main(rounds: int) -> None:
    ours()  # the template is up now
    took: dict[str, list[float]] = {"manycore": [], "fork": [], "spawn": []}
    ways: dict[str, Callable[[], float]] = {
        "manycore": ours,
        "fork": lambda: theirs("fork"),
        "spawn": lambda: theirs("spawn"),
    }
    for number in range(rounds):
        for name, way in ways.items():
            if name != "spawn" or number % SPAWN_EVERY == 0:
                took[name].append(way())
    took["cold start"] = [cold() for _ in range(COLD_STARTS)]
    print(f"Python {platform.python_version()}, {platform.system()} {platform.release()}")
    print("start of a no-op, ms        median     best")
    for name, times in took.items():
        best = min(times) * 1e3
        print(f"{name:<22} {statistics.median(times) * 1e3:>11.2f} {best:>8.2f}   n={len(times)}")
    medians = {name: statistics.median(times) for name, times in took.items()}
    print(f"manycore / fork:  {medians['manycore'] / medians['fork']:.2f}   (promised: <= 2.5)")
    print(f"manycore / spawn: {medians['manycore'] / medians['spawn']:.3f}  (promised: <= 0.15)")
    print(f"cold start: {medians['cold start'] * 1e3:.1f} ms  (promised: < 60)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
