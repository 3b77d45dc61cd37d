"""Starts the servers that are compared, each as a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs.

    Attributes:
        address: What to connect to.
        pid: Its first process.
    """

    address: tuple[str, int]
    pid: int


Start: TypeAlias = Callable[[int], AbstractContextManager[Running]]


@contextmanager
def manycore(workers: int, handler: str = "handle", *settings: str) -> Iterator[Running]:
    """`manycore serve` with default settings, or these; a handler of echo.py, or a whole target."""
    target = handler if ":" in handler else f"echo.py:{handler}"
    arguments = ["--bind", "127.0.0.1:0", "--workers", str(workers), *settings]
    process = subprocess.Popen(
        [sys.executable, "-m", "manycore", "serve", target, *arguments],
        cwd=HERE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"on 127\.0\.0\.1:(\d+)", line):
                yield Running(("127.0.0.1", int(found[1])), process.pid)
                break
        else:
            raise RuntimeError("manycore did not start")
    finally:
        process.send_signal(2)
        process.communicate()


def bare(workers: int) -> AbstractContextManager[Running]:
    """The bare loop."""
    return peer([sys.executable, str(HERE / "bare.py")], workers)


@contextmanager
def peer(command: list[str], workers: int) -> Iterator[Running]:
    """A server that says its port and ends with its standard input."""
    process = subprocess.Popen(
        [*command, str(workers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield Running(("127.0.0.1", int(process.stdout.readline())), process.pid)
    finally:
        process.communicate()


def processor_seconds(pid: int) -> float:
    """What a process and its children have used, to the nanosecond; all their threads together."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    clock = ~pid << 3 | 2  # what clock_getcpuclockid(3) gives
    return time.clock_gettime(clock) + sum(map(processor_seconds, map(int, children)))
