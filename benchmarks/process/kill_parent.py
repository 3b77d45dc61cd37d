"""Kills a parent with SIGKILL, again and again, and counts who is left after one second.

Run it: python benchmarks/process/kill_parent.py [trials]

The parent has two daemon processes, each with a program that it started; both are busy in C code
that never lets go of the interpreter. The blow comes at a random moment. Exits with 1 if anybody
was left in any trial.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from manycore.base import family

LIMIT = 1.0  # seconds

PARENT = """
import ctypes, os, subprocess, sys, time
sys.path[:0] = {path!r}
from manycore import Process

def busy(file):
    program = subprocess.Popen(["sleep", "600"])
    with open(file, "a") as out:
        print(os.getpid(), program.pid, file=out, flush=True)
    pow(3, 10**8)  # minutes in C, with the interpreter's lock held

processes = [Process(target=busy, args=(sys.argv[1],), daemon=True) for _ in range(2)]
for process in processes:
    process.start()
time.sleep(600)
"""


def is_left(pid: int) -> bool:
    kin = family.look_at(pid)
    return kin is not None and kin.state not in "ZX"


def numbers(file: Path) -> list[int]:
    return [int(word) for word in file.read_text().split()] if file.exists() else []


def trial(directory: Path) -> tuple[float, int]:
    """Gives the seconds until all had ended, and how many were left at the limit."""
    file = directory / "pids"
    file.unlink(missing_ok=True)
    program = PARENT.format(path=sys.path)
    parent = subprocess.Popen([sys.executable, "-c", program, file])
    while len(numbers(file)) < 4 and parent.poll() is None:
        time.sleep(0.002)
    time.sleep(random.uniform(0, 0.02))
    itself = family.look_at(parent.pid)
    assert itself is not None
    below = {kin.pid for kin in family.members(family.everybody(), [itself])} - {parent.pid}
    assert len(below) == 5, below  # the template, two processes, two programs
    began = time.monotonic()
    parent.kill()
    parent.wait()
    left = below
    while left and time.monotonic() - began < LIMIT:
        left = {pid for pid in left if is_left(pid)}
    took = time.monotonic() - began
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return took, len(left)


def main(trials: int) -> int:
    with tempfile.TemporaryDirectory() as directory:
        results = [trial(Path(directory)) for _ in range(trials)]
    times = sorted(took for took, _ in results)
    bad = sum(1 for _, left in results if left)
    print(f"{trials} trials of kill -9 on the parent of 2 busy daemons with a program each")
    print(f"trials with anybody left after {LIMIT:.0f} s: {bad}")
    print(f"until all had ended, ms: median {statistics.median(times) * 1e3:.1f}", end="")
    print(f", slowest {times[-1] * 1e3:.1f}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
