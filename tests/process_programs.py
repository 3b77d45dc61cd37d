"""Programs that tests of processes run, and ways to wait for what they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from manycore import Process
from manycore.base import family

PATIENCE = 20.0  # seconds: nothing here takes that long, unless it hangs


def eventually(condition: Callable[[], object], within: float = PATIENCE) -> bool:
    """Waits until a condition holds; False when it never did."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def result_of(target: Any, *args: Any, method: str | None = None) -> Any:
    """Gives what a function returns, or raises, in a process of its own."""
    process = Process(target=target, args=args, start_method=method)
    process.start()
    try:
        return process.result(PATIENCE)
    finally:
        process.join(PATIENCE)


def run(
    program: str, *arguments: str, path: Path | None = None, stdin: bool = False
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end: as a file of a directory, on standard input, or by `-c`."""
    program = textwrap.dedent(program)
    command = [sys.executable, "-c", program, *arguments]
    if stdin:
        command = [sys.executable, "-", *arguments]
    elif path is not None:
        file = path / "program.py"
        file.write_text(program)
        command = [sys.executable, str(file), *arguments]
    return subprocess.run(
        command,
        input=program if stdin else None,
        stdin=None if stdin else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
        cwd=path,
    )


def begin(program: str, *arguments: str) -> subprocess.Popen[str]:
    """Starts a program; returns when it has printed `up`."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while (line := process.stdout.readline()) != "up\n":
        if not line:
            process.kill()
            raise AssertionError(process.communicate()[1])
    return process


def is_gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    kin = family.look_at(pid)
    return kin is None or kin.state in "ZX"


def all_gone(pids: Iterable[int], within: float) -> bool:
    """Waits until processes have ended; kills them, and gives False, when they do not."""
    pids = list(pids)
    if eventually(lambda: all(map(is_gone, pids)), within):
        return True
    for pid in pids:
        if not is_gone(pid):
            os.kill(pid, signal.SIGKILL)
    return False


def numbers(file: Path) -> list[int]:
    """Gives the whole numbers that a file holds, so far."""
    try:
        return [int(word) for word in file.read_text().split()]
    except FileNotFoundError:
        return []
