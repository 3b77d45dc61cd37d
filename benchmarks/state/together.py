"""Several processes at work on one thing at once."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from typing import Any

FORK = multiprocessing.get_context("fork")
Operation = Callable[[Any, int], None]


def worker(operation: Operation, box: Any, times: int, start: Any, ready: Any, spans: Any) -> None:
    operation(box, 100)  # connections, environments, caches: not what is measured
    ready.release()
    start.wait()
    begun = time.perf_counter()
    operation(box, times)
    spans.send((begun, time.perf_counter()))


def measure(operation: Operation, box: Any, times: int, processes: int) -> float:
    """Microseconds an operation, with so many processes at work at once."""
    start, ready = FORK.Event(), FORK.Semaphore(0)
    spans, sender = FORK.Pipe(duplex=False)
    workers = [
        FORK.Process(target=worker, args=(operation, box, times, start, ready, sender))
        for _ in range(processes)
    ]
    for process in workers:
        process.start()
    for _ in workers:
        ready.acquire()
    start.set()
    taken = [spans.recv() for _ in workers]
    for process in workers:
        process.join()
        assert process.exitcode == 0
    wall: float = max(end for _, end in taken) - min(begun for begun, _ in taken)
    return wall / (times * processes) * 1e6
