"""The error of a task whose worker died while it ran.

A module of its own, as `base.worker_lost`: what it descends from is slow to import.
"""

from __future__ import annotations

from manycore.base.worker_lost import WorkerLost


class TaskLost(WorkerLost):
    """A task's worker died while it ran the task, or read it. The pool and all other tasks go on.

    Args:
        pid: The worker's process id.
        exit: How it ended, in words.
        name: The worker's name.
        reason: Why, where that is known.
        exitcode: Negative for a signal; None when nobody could see it.
        task: Which task it was.
        may_have_run: Whether the task may have had effects before that. It had none when it was
            not begun: several workers died as they read its arguments.
        stack: The worker's last Python stack, where it could be written.
        peak_memory: Bytes that the worker had held at most before it began its last batch; 0: not
            known. What the lost task itself took is not in it.

    Example:
        >>> raise TaskLost(4711, "killed by SIGKILL", "PoolWorker-1", task="make")
        Traceback (most recent call last):
        ...
        manycore.pool.lost.TaskLost: PoolWorker-1 (pid 4711) was killed by SIGKILL, running make
    """

    def __init__(
        self,
        pid: int,
        exit: str,  # noqa: A002  # the field's word
        name: str = "a worker",
        reason: str = "",
        exitcode: int | None = None,
        task: str = "",
        may_have_run: bool = True,  # noqa: FBT001, FBT002  # an exception is rebuilt from its args
        stack: str = "",
        peak_memory: int = 0,
    ) -> None:
        super().__init__(pid, exit, name, reason, exitcode)
        self.args = (pid, exit, name, reason, exitcode, task, may_have_run, stack, peak_memory)
        self.task = task
        self.may_have_run = may_have_run
        self.stack = stack
        self.peak_memory = peak_memory

    def __str__(self) -> str:
        if not self.task:
            return super().__str__()
        doing = "running" if self.may_have_run else "reading the arguments of"
        return f"{super().__str__()}, {doing} {self.task}"
