"""Workers are killed at random, under load: nobody waits long, no result is wrong, nothing leaks.

Run it from the repository:  python benchmarks/pool/kill_workers.py [--kills 10000]

A thread kills a worker that is at work, again and again, while single calls and maps go on. Each
result must be right, or a `TaskLost`; the longest wait for one is measured. At the end the open
descriptors are as many as after the first hundred kills, and so, nearly, is the memory.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import threading
import time
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from manycore import Pool, TaskLost

LONGEST_WAIT = 2.0  # seconds
WARM = 100  # kills until all that is made once has been made
MEMORY_SLACK = 10 * 2**20  # bytes: an allocator's own


@dataclass
class Report:
    kills: int = 0
    done: int = 0
    lost: int = 0
    wrong: int = 0
    longest: float = 0.0
    descriptors: tuple[int, int] = (0, 0)
    memory: tuple[int, int] = (0, 0)

    def problems(self, longest_wait: float = LONGEST_WAIT) -> list[str]:
        """Says what is not as it should be."""
        found = []
        if self.wrong:
            found.append(f"{self.wrong} wrong results")
        if self.longest > longest_wait:
            found.append(f"a wait of {self.longest:.2f} s")
        if self.lost > self.kills:
            found.append(f"{self.lost} tasks lost by {self.kills} kills")
        if self.descriptors[1] > self.descriptors[0] + 4:  # two workers may be half born
            found.append(f"descriptors went from {self.descriptors[0]} to {self.descriptors[1]}")
        if self.memory[1] > self.memory[0] + MEMORY_SLACK:
            found.append(f"memory went from {self.memory[0]} to {self.memory[1]}")
        return found


def itself(value: int) -> tuple[int]:
    if value % 50 == 0:
        time.sleep(0.001)
    return (value,)


def storm(pool: Pool, report: Report, kills: int, chance: random.Random) -> None:
    """Kills workers that are at work; while they begin, each has time to do something."""
    while report.kills < kills:
        time.sleep(chance.uniform(0.0, 0.01))
        ready = [one for one in pool.statistics().each if one.busy and one.tasks]
        if ready:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(ready).pid, signal.SIGKILL)
                report.kills += 1


def measure() -> tuple[int, int]:
    this = psutil.Process()
    return this.num_fds(), this.memory_info().rss


def run(kills: int, workers: int = 2, seed: int = 1, retries: int = 0) -> Report:
    """Does it; gives what was seen."""
    report = Report()
    with Pool(workers, retries=retries) as pool:
        killer = threading.Thread(target=storm, args=(pool, report, kills, random.Random(seed)))
        killer.start()
        before: tuple[int, int] | None = None
        while killer.is_alive():
            one_round(pool, report)
            if before is None and report.kills >= min(WARM, kills // 2):
                before = measure()
        killer.join()
        one_round(pool, report)
        after = measure()
    assert before is not None
    report.descriptors, report.memory = (before[0], after[0]), (before[1], after[1])
    return report


def one_round(pool: Pool, report: Report) -> None:
    futures = [pool.submit(itself, n) for n in range(300)]
    began = time.monotonic()
    pending: set[Any] = set(futures)
    while pending:
        done, pending = wait(pending, timeout=LONGEST_WAIT * 5, return_when="FIRST_COMPLETED")
        report.longest = max(report.longest, time.monotonic() - began)
        began = time.monotonic()
        if not done:
            break
    for number, future in enumerate(futures):
        if not future.done():
            report.wrong += 1
        elif future.exception() is None:
            report.done += 1
            report.wrong += future.result() != (number,)
        else:
            report.lost += isinstance(future.exception(), TaskLost)
            report.wrong += not isinstance(future.exception(), TaskLost)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    report = run(options.kills, seed=options.seed)
    print(
        f"{report.kills} kills in {time.monotonic() - began:.0f} s: {report.done} results, "
        f"{report.lost} tasks lost, {report.wrong} wrong; longest wait {report.longest:.2f} s; "
        f"descriptors {report.descriptors[0]} -> {report.descriptors[1]}; "
        f"memory {report.memory[0] / 2**20:.1f} -> {report.memory[1] / 2**20:.1f} MiB"
    )
    problems = report.problems()
    for problem in problems:
        print(f"PROBLEM: {problem}")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
