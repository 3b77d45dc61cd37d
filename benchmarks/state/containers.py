"""What an operation costs, beside `multiprocessing.Manager`, alternating in one run.

    python benchmarks/state/containers.py            # minutes
    python benchmarks/state/containers.py --quick    # a look

Each figure is the median of the rounds: the time from the first operation of any process to the
last of all, divided by the number of operations.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pickle
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from together import FORK, Operation, measure

import manycore


def dict_get(box: Any, times: int) -> None:
    for _ in range(times):
        box["key"]


def dict_set(box: Any, times: int) -> None:
    for number in range(times):
        box["key"] = number


def list_append(box: Any, times: int) -> None:
    for number in range(times):
        box.append(number)


def queue_put_get(box: Any, times: int) -> None:
    for number in range(times):
        box.put(number)
        box.get()


def lock_cycle(box: Any, times: int) -> None:
    for _ in range(times):
        box.acquire()
        box.release()


def make_dict(manager: Any) -> Any:
    box = manager.dict()
    box["key"] = 0
    return box


OPERATIONS: dict[str, tuple[Callable[[Any], Any], Operation, int, float]] = {
    "dict get": (make_dict, dict_get, 2000, 25),
    "dict set": (make_dict, dict_set, 2000, 15),
    "list append": (lambda manager: manager.list(), list_append, 2000, 15),
    "Queue put+get": (lambda manager: manager.Queue(), queue_put_get, 1000, 10),
    "Lock acquire+release": (lambda manager: manager.Lock(), lock_cycle, 1000, 10),
}


def compare(rounds: int, scale: int) -> None:
    print("operation               processes  multiprocessing    manycore     ratio   asked")
    for name, (make, operation, times, asked) in OPERATIONS.items():
        for processes in (1, 2, 4):
            theirs, ours = [], []
            for _ in range(rounds):
                with multiprocessing.Manager() as manager:
                    box = make(manager)
                    theirs.append(measure(operation, box, times * scale // processes, processes))
                with manycore.Manager() as fast:
                    box = make(fast)
                    many = 10 * times * scale // processes
                    ours.append(measure(operation, box, many, processes))
            slow, quick = statistics.median(theirs), statistics.median(ours)
            verdict = "" if slow / quick >= asked else "   MISSED"
            print(
                f"{name:22} {processes:10} {slow:13.1f} us {quick:9.2f} us "
                f"{slow / quick:8.1f}x {asked:6.0f}x{verdict}",
                flush=True,
            )


def increment(counter: Any, times: int) -> None:
    for _ in range(times):
        counter.add()


def increment_value(value: Any, lock: Any, times: int) -> None:
    for _ in range(times):
        with lock:
            value.value += 1


def count(times: int) -> None:
    with manycore.Manager() as manager:
        counter = manager.counter()
        begun = time.perf_counter()
        workers = [FORK.Process(target=increment, args=(counter, times)) for _ in range(4)]
        for process in workers:
            process.start()
        for process in workers:
            process.join()
        took = time.perf_counter() - begun
        total = counter.get()
    few = max(1, times // 10)
    with multiprocessing.Manager() as slow:
        value, lock = slow.Value("i", 0), slow.Lock()
        begun = time.perf_counter()
        increment_value(value, lock, few)
        with_lock = (time.perf_counter() - begun) / few * 4 * times
        begun = time.perf_counter()
        for _ in range(few):
            value.value += 1
        without = (time.perf_counter() - begun) / few * 4 * times
    print(f"\n4 processes x {times} increments: {total} (expected {4 * times}) in {took:.2f} s")
    print(f"one process by multiprocessing.Manager, value += 1 alone: {without:.1f} s")
    print(f"  ratio {without / took:.1f}x (asked 10x); under its lock {with_lock / took:.1f}x")


def sizes(most: int) -> None:
    print("\nkeys        get us    set us   file bytes  pickled bytes   ratio")
    times: dict[int, tuple[float, float]] = {}
    for kind, make in (("text of 100", lambda n: f"{n:0100}"), ("int", lambda n: n)):
        for keys in (1000, most):
            with manycore.Manager() as manager:
                box = manager.dict()
                items = {f"key-{number}": make(number) for number in range(keys)}
                pickled = sum(
                    len(pickle.dumps(k, 5)) + len(pickle.dumps(v, 5)) for k, v in items.items()
                )
                for first in range(0, keys, 10_000):
                    names = list(items)[first : first + 10_000]
                    box.update({name: items[name] for name in names})
                step = max(1, keys // 20_000)
                probes = [
                    f"key-{n * 7919 % keys}" for n in range(0, keys * (20_000 // keys + 1), step)
                ]
                probes = probes[:20_000]
                get_time = timed(box.__getitem__, probes)
                values = [items[name] for name in probes]
                set_time = timed(box.__setitem__, probes, values)
                used = os.stat(Path(manager.path) / "data.mdb").st_blocks * 512
            times[keys] = get_time, set_time
            print(
                f"{keys:<9} {get_time:8.2f} {set_time:9.2f} {used:12} {pickled:13} "
                f"{used / pickled:8.2f}x   ({kind})"
            )
        (small_get, small_set), (large_get, large_set) = times[1000], times[most]
        print(
            f"  {most} keys against 1000: get {large_get / small_get:.2f}x, "
            f"set {large_set / small_set:.2f}x (asked: at most 3x)"
        )


def timed(function: Callable[..., Any], *names: list[Any]) -> float:
    """Microseconds a call; the best of three passes."""
    best = float("inf")
    for _ in range(3):
        begun = time.perf_counter()
        for arguments in zip(*names, strict=True):
            function(*arguments)
        best = min(best, (time.perf_counter() - begun) / len(names[0]) * 1e6)
    return best


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    print(
        f"Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} CPUs, "
        f"state in {tempfile.gettempdir() if not os.path.isdir('/dev/shm') else '/dev/shm'}"
    )
    compare(rounds=2 if quick else 5, scale=1 if quick else 4)
    count(5000 if quick else 50_000)
    sizes(100_000 if quick else 1_000_000)


if __name__ == "__main__":
    main()
