"""The error of a process that ended without having delivered what was asked of it.

A module of its own: the class it descends from costs 15 ms to import, and most programs never lose
a worker.
"""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool

from manycore.errors import ManycoreError


class WorkerLost(ManycoreError, BrokenProcessPool):  # noqa: N818  # what happened
    """A process ended without delivering its result.

    Code that catches `concurrent.futures.process.BrokenProcessPool` catches this too.

    Args:
        pid: The process's id.
        exit: How it ended, in words.
        name: The process's name.
        reason: Why, where that is known.
        exitcode: Negative for a signal; None when nobody could see it.

    Example:
        >>> raise WorkerLost(4711, "killed by SIGKILL", "Process-1")
        Traceback (most recent call last):
        ...
        manycore.base.worker_lost.WorkerLost: Process-1 (pid 4711) was killed by SIGKILL
    """

    def __init__(
        self,
        pid: int,
        exit: str,  # noqa: A002  # the field's word
        name: str = "a process",
        reason: str = "",
        exitcode: int | None = None,
    ) -> None:
        super().__init__(pid, exit, name, reason, exitcode)
        self.pid = pid
        self.exit = exit
        self.name = name
        self.reason = reason
        self.exitcode = exitcode

    def __str__(self) -> str:
        was = "was " if self.exit.startswith("killed") else ""
        why = f": {self.reason}" if self.reason else ""
        return f"{self.name} (pid {self.pid}) {was}{self.exit}{why}"
