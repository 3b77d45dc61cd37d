"""What it costs to start a process: ours beside the standard library's, alternating in one run.

Run it: python benchmarks/process/start.py [rounds]

Prints medians in milliseconds and the two ratios that are promised: ours is start + result of a
no-op, theirs start + join of the same. The template's cold start is the first `start()` of a fresh
program, from the call until the process exists. It is taken in programs of its own, with compiled
bytecode, as an installed package has it. Beside it stand the CPU time that it took of the program
and of the template, which a busy machine stretches less, and a bare `python -c pass`.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
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
from manycore.base import template
process = Process(target=int)
began, used = time.perf_counter(), time.process_time()
process.start()
took, used = time.perf_counter() - began, time.process_time() - used
with open(f"/proc/{{template.current().pid}}/schedstat") as file:
    used += int(file.read().split()[0]) / 1e9  # what the template has used by now, in ns
print(took, used)
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


def cold(environment: dict[str, str]) -> list[float]:
    program = COLD.format(path=sys.path)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    return [float(word) for word in done.stdout.split()]


def bare(environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True, env=environment)
    return time.perf_counter() - began


def take_cold_starts(took: dict[str, list[float]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        environment = dict(os.environ) | {"PYTHONPYCACHEPREFIX": directory}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        cold(environment)  # which writes the bytecode
        for _ in range(COLD_STARTS):
            elapsed, used = cold(environment)
            took["cold start"].append(elapsed)
            took["cold start, CPU"].append(used)
            took["python -c pass"].append(bare(environment))


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
    took |= {"cold start": [], "cold start, CPU": [], "python -c pass": []}
    take_cold_starts(took)
    print(f"Python {platform.python_version()}, {platform.system()} {platform.release()}")
    print("start of a no-op, ms        median     best")
    for name, times in took.items():
        best = min(times) * 1e3
        print(f"{name:<22} {statistics.median(times) * 1e3:>11.2f} {best:>8.2f}   n={len(times)}")
    medians = {name: statistics.median(times) for name, times in took.items()}
    print(f"manycore / fork:  {medians['manycore'] / medians['fork']:.2f}   (promised: <= 2.5)")
    print(f"manycore / spawn: {medians['manycore'] / medians['spawn']:.3f}  (promised: <= 0.15)")
    print(f"cold start / python -c pass: {medians['cold start'] / medians['python -c pass']:.2f}")
    print(f"cold start: {medians['cold start'] * 1e3:.1f} ms  (promised: < 60)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
