"""What can go wrong, and who must act.

One root, `ManycoreError`. Every error carries its facts as attributes, so that nobody has to parse
a sentence, and its message is one line that says what happened, where, and what to do.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the command's exit code means. It is API: service managers decide restarts by it."""

    OK = 0
    FAILED = 1
    USAGE = 2  #: an option, a variable or a settings file is wrong
    BOOT_FAILED = 3  #: a worker could not boot, and would not the next time
    TARGET_FAILED = 4  #: the target could not be loaded
    INTERRUPTED = 130  #: Ctrl-C, as shells say it


class ManycoreError(Exception):
    """The root of every error of manycore."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED


class SettingsError(ManycoreError, ValueError):
    """A setting has a value that it cannot have. The person who wrote it must act.

    Args:
        where: The flag, variable, file and key, or argument that was wrong.
        problem: What is wrong with it.
        remedy: What to write instead.

    Example:
        >>> raise SettingsError("--workers", "'x' is not a number", "give a whole number from 1")
        Traceback (most recent call last):
        ...
        manycore.errors.SettingsError: --workers: 'x' is not a number; give a whole number from 1
    """

    exit_code: ClassVar[ExitCode] = ExitCode.USAGE

    def __init__(self, where: str, problem: str, remedy: str) -> None:
        super().__init__(where, problem, remedy)
        self.where = where
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}; {self.remedy}"


class BindError(ManycoreError):
    """An address could not be listened on. Whoever runs this machine must act.

    Args:
        address: The address as it was written.
        problem: What the operating system said.
        remedy: What to do about it.
    """

    def __init__(self, address: str, problem: str, remedy: str) -> None:
        super().__init__(address, problem, remedy)
        self.address = address
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"cannot listen on {self.address}: {self.problem}; {self.remedy}"


class PidFileError(ManycoreError):
    """The pid file could not be taken. Whoever runs this machine must act.

    Args:
        path: The file.
        problem: What is the matter.
        remedy: What to do about it.
    """

    def __init__(self, path: str, problem: str, remedy: str) -> None:
        super().__init__(path, problem, remedy)
        self.path = path
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"pid file {self.path}: {self.problem}; {self.remedy}"


class TargetError(ManycoreError):
    """The target could not be loaded, or is nothing that can be served. Its author must act.

    Args:
        target: The target as it was written.
        problem: What is wrong with it.
        remedy: What to do about it.
        details: The traceback of what the target's own code raised, if it did.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.TARGET_FAILED

    def __init__(self, target: str, problem: str, remedy: str, details: str = "") -> None:
        super().__init__(target, problem, remedy, details)
        self.target = target
        self.problem = problem
        self.remedy = remedy
        self.details = details

    def __str__(self) -> str:
        return f"{self.target}: {self.problem}; {self.remedy}"


class MissingExtra(ManycoreError, ImportError):  # noqa: N818  # a settled name
    """A library that something needs is not installed. Whoever runs this Python must act.

    Args:
        what: What needs it.
        library: What is missing.
        extra: The extra of manycore that brings it.

    Example:
        >>> raise MissingExtra("mode greenlets", "greenlet", "server")
        Traceback (most recent call last):
        ...
        manycore.errors.MissingExtra: mode greenlets needs greenlet, which is not installed; \
run: pip install 'manycore[server]'
    """

    def __init__(self, what: str, library: str, extra: str) -> None:
        super().__init__(what, library, extra)
        self.what = what
        self.library = library
        self.extra = extra

    def __str__(self) -> str:
        missing = f"{self.what} needs {self.library}, which is not installed"
        return f"{missing}; run: pip install 'manycore[{self.extra}]'"


class BootError(ManycoreError):
    """Workers end before they are ready, again and again.

    Args:
        problem: How the last of them ended.
        details: Its traceback, if it left one.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.BOOT_FAILED

    def __init__(self, problem: str, details: str = "") -> None:
        super().__init__(problem, details)
        self.problem = problem
        self.details = details

    def __str__(self) -> str:
        return f"no worker could boot: {self.problem}"


class ControlError(ManycoreError):
    """A running server could not be asked for something. Whoever runs it must act.

    Args:
        place: The control socket, or where it was looked for.
        problem: What went wrong.
        remedy: What to do about it.
        details: The traceback of what failed in the server, if something did.
    """

    def __init__(self, place: str, problem: str, remedy: str, details: str = "") -> None:
        super().__init__(place, problem, remedy, details)
        self.place = place
        self.problem = problem
        self.remedy = remedy
        self.details = details

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}; {self.remedy}"


class NotInServerError(ManycoreError, RuntimeError):
    """Something that belongs to a server was used outside of one. The program's author must act.

    Args:
        what: What was used.
        remedy: What to use instead.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what} works in a server's handlers only; {self.remedy}"


class SupervisorLost(ManycoreError):  # noqa: N818  # what happened, as WorkerLost says it
    """The supervisor of a server ended without having been asked to.

    Args:
        pid: Its process id.
        exit: How it ended, in words.
    """

    def __init__(self, pid: int, exit: str) -> None:  # noqa: A002  # the field's word
        super().__init__(pid, exit)
        self.pid = pid
        self.exit = exit

    def __str__(self) -> str:
        return f"the server's supervisor (pid {self.pid}) {self.exit}"


class SendError(ManycoreError, TypeError):
    """An object cannot be sent to another process. Whoever passed it must act.

    Args:
        path: Which part of what was passed, as Python would spell it: `args[0].lock`.
        problem: Why that part cannot be sent.

    Example:
        >>> raise SendError("args[0].lock", "cannot pickle '_thread.lock' object")
        Traceback (most recent call last):
        ...
        manycore.errors.SendError: args[0].lock cannot be sent: cannot pickle '_thread.lock' object
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path} cannot be sent: {self.problem}"


class RemoteError(ManycoreError):
    """An exception of another process that cannot be rebuilt in this one.

    Args:
        type_name: Its class, with its module.
        arguments: The repr of each of its `args`.
        traceback: Its traceback, as text.

    Example:
        >>> raise RemoteError("billing.Refused", ("'card'", "402"), "Traceback …")
        Traceback (most recent call last):
        ...
        manycore.errors.RemoteError: billing.Refused('card', 402)
    """

    def __init__(self, type_name: str, arguments: tuple[str, ...], traceback: str) -> None:
        super().__init__(type_name, arguments, traceback)
        self.type_name = type_name
        self.arguments = arguments
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.type_name}({', '.join(self.arguments)})"


class StateError(ManycoreError):
    """Shared state cannot be used as it was asked to be. Whoever wrote the program must act.

    Args:
        where: The manager's directory, or the container's name.
        problem: What is wrong.
        remedy: What to do about it.
    """

    def __init__(self, where: str, problem: str, remedy: str) -> None:
        super().__init__(where, problem, remedy)
        self.where = where
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}; {self.remedy}"


class StateClosed(StateError, ValueError):  # noqa: N818  # what happened, as SupervisorLost says it
    """The manager, or the container, is gone: closed here, or removed by the process that owned it.

    A `ValueError`, as an operation on a closed file is.
    """


class StateFull(StateError, MemoryError):  # noqa: N818  # what happened
    """There is no room: `max_size` is reached, or the filesystem is full. The state is as it was.

    A `MemoryError`, which is what a list or a dict raises when it cannot grow.
    """


class StateRefused(StateError, PermissionError):  # noqa: N818  # what happened
    """A directory is not ours to use: another user's, open to others, or not made by manycore.

    Nothing was read from it. A `PermissionError`.
    """


class StateTypeError(StateError, TypeError):
    """A name is in use for a container of another type. A `TypeError`."""


class StateDamaged(StateError, OSError):  # noqa: N818  # what happened
    """The file is not whole, after a power cut say. Nothing was read from it. An `OSError`."""


class MapError(ManycoreError):
    """A map from the command line cannot go on. Whoever runs it must act.

    Args:
        where: The file, or the line of it.
        problem: What is wrong.
        remedy: What to do about it.
    """

    def __init__(self, where: str, problem: str, remedy: str) -> None:
        super().__init__(where, problem, remedy)
        self.where = where
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}; {self.remedy}"


class MapRefused(MapError):  # noqa: N818  # what happened
    """A map from the command line is not begun: its files do not fit what it was asked to do."""

    exit_code: ClassVar[ExitCode] = ExitCode.USAGE


class TaskTimeout(ManycoreError, TimeoutError):  # noqa: N818  # a settled name
    """A task took longer than it may. Whoever set the limit, or wrote the task, must act.

    Args:
        timeout: Seconds that it had.
        task: Which task.
        ended: Whether it did not end by itself and its worker was killed.

    Example:
        >>> raise TaskTimeout(2.5)
        Traceback (most recent call last):
        ...
        manycore.errors.TaskTimeout: the task took longer than 2.5 s
    """

    def __init__(self, timeout: float, task: str = "", *, ended: bool = False) -> None:
        super().__init__(timeout, task)
        self.timeout = timeout
        self.task = task
        self.ended = ended

    def __str__(self) -> str:
        worker = "; its worker was killed" if self.ended else ""
        return f"{self.task or 'the task'} took longer than {self.timeout:g} s{worker}"
