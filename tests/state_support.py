"""What the tests of shared state need: processes that do one thing, and patience with a limit."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from eventually import eventually


class Child:
    """A forked process that runs a function; what it raises fails the test."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                function(*arguments)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        self._status: int | None = None
        self._reaping = threading.Lock()

    def kill(self) -> None:
        """Ends it by SIGKILL, and reaps it."""
        os.kill(self.pid, signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def signal(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def is_over(self) -> bool:
        with self._reaping:
            if self._status is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self._status = os.waitstatus_to_exitcode(status)
            return self._status is not None

    def wait(self, within: float = 20.0) -> int:
        """Gives its exit code; fails when it takes too long."""
        eventually(self.is_over, within=within)
        assert self._status is not None
        return self._status

    def join(self) -> None:
        """Waits for it, and expects that nothing went wrong."""
        assert self.wait() == 0

    def end(self) -> None:
        if not self.is_over():
            os.kill(self.pid, signal.SIGKILL)
            self.wait()


@contextmanager
def children() -> Iterator[Callable[..., Child]]:
    """Gives a function that starts processes; they are gone at the end of the block."""
    started: list[Child] = []

    def start(function: Callable[..., Any], *arguments: Any) -> Child:
        child = Child(function, *arguments)
        started.append(child)
        return child

    try:
        yield start
    finally:
        for child in started:
            child.end()


#: what the fixture `start` gives: it forks a process that runs a function
Start = Callable[..., Child]


def cpu_seconds(pid: int) -> float:
    """How much CPU time a process has used."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_sleeping(pid: int) -> bool:
    """Whether a process waits in the kernel."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] == b"S"
