"""The words of supervision: what happens to workers, and what is to be done. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from traceback import format_exception
from typing import TypeAlias

from manycore.errors import ExitCode, SettingsError, TargetError

BOOT_TRIES = 3  # a boot that fails by chance may fail twice


class Urgency(IntEnum):
    """How a stop is meant; a later, more urgent one overrides an earlier one."""

    NONE = 0
    GRACEFUL = 1  #: what is queued is served, what is open may finish
    QUICK = 2  #: open connections are ended, handlers get a moment to return
    ABORT = 3  #: it makes no progress: it dies at once, and leaves a core dump if those are kept
    NOW = 4  #: everything is killed


@dataclass(frozen=True, slots=True)
class Policy:
    """What the rules go by. All times are in seconds.

    Attributes:
        workers: How many there shall be.
        graceful_timeout: How long a graceful stop lets open work go on.
        boot_timeout: How long a worker may take until it is ready.
        young: A worker that was ready for less than this died young: the next one may have to wait.
        first_pause: What the second death in a row costs; it doubles with each further one.
        longest_pause: Where the doubling ends.
        boot_tries: After so many boots in a row that failed, a place cannot have a worker.
        overlap: How many processes there may be beyond the workers, while they are renewed.
        pre_stop_delay: How long all goes on after a graceful stop was asked for.
    """

    workers: int
    graceful_timeout: float = 30.0
    boot_timeout: float = 60.0
    young: float = 1.0
    first_pause: float = 0.1
    longest_pause: float = 30.0
    boot_tries: int = BOOT_TRIES
    overlap: int = 1
    pre_stop_delay: float = 0.0


# What happened.


@dataclass(frozen=True, slots=True)
class Begin:
    """The driver is ready to start workers."""


@dataclass(frozen=True, slots=True)
class Booted:
    """A worker says that it is ready."""

    worker: int


@dataclass(frozen=True, slots=True)
class BootFailed:
    """A worker says why it cannot become ready; it is about to exit."""

    worker: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class LetGo:
    """A worker that was told to drain takes no more work, and finishes what it has."""

    worker: int


@dataclass(frozen=True, slots=True)
class Spent:
    """A worker has lived long enough: it shall be replaced by a new one."""

    worker: int


@dataclass(frozen=True, slots=True)
class Hung:
    """A worker makes no progress, and will make none."""

    worker: int


@dataclass(frozen=True, slots=True)
class Exited:
    """A worker's process has ended, or could not be started at all."""

    worker: int
    how: str


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Somebody wants all to end."""

    urgency: Urgency


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Ctrl-C: quick the first time, at once the second."""


@dataclass(frozen=True, slots=True)
class ReloadAsked:
    """Every worker shall be replaced by a new one, which imports the code anew."""


@dataclass(frozen=True, slots=True)
class ScaleAsked:
    """There shall be so many workers from now on."""

    workers: int


@dataclass(frozen=True, slots=True)
class TimePassed:
    """A deadline may have come."""


Event: TypeAlias = (
    Begin
    | Booted
    | BootFailed
    | LetGo
    | Spent
    | Hung
    | Exited
    | StopAsked
    | Interrupted
    | ReloadAsked
    | ScaleAsked
    | TimePassed
)


# What is to be done.


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a worker.

    Attributes:
        worker: What it is called in events and actions; never used again.
        number: Its place.
        generation: How many reloads came before it.
    """

    worker: int
    number: int
    generation: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell a worker to stop, this urgently."""

    worker: int
    urgency: Urgency


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing to do but to say so: the place's next worker comes after a pause."""

    number: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Announce:
    """Every worker is ready, for the first time."""


@dataclass(frozen=True, slots=True)
class StopBegins:
    """The first stop was asked for: what takes in new work shall take in no more."""


@dataclass(frozen=True, slots=True)
class WorkEnds:
    """All stops, and none of those that are left takes new work."""


@dataclass(frozen=True, slots=True)
class ReloadEnds:
    """Only workers of this generation take work now, or a successor failed to become one."""

    generation: int
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class SuccessorFails:
    """A worker that has lived long enough goes on: its successor could not boot.

    Attributes:
        number: The place.
        failure: Why.
        pause: Seconds until the next try.
    """

    number: int
    failure: Failure
    pause: float


@dataclass(frozen=True, slots=True)
class BootFails:
    """A place has no worker, since the one that should follow another could not boot.

    Attributes:
        number: The place.
        failure: Why.
    """

    number: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class Abandon:
    """A worker survived KILL; the kernel holds it."""

    worker: int


@dataclass(frozen=True, slots=True)
class Finish:
    """All is over."""

    failure: Failure | None


Action: TypeAlias = (
    Spawn
    | Tell
    | Pause
    | Announce
    | StopBegins
    | WorkEnds
    | ReloadEnds
    | SuccessorFails
    | BootFails
    | Abandon
    | Finish
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why workers could not boot.

    Attributes:
        code: What the whole exits with.
        problem: What went wrong, on one line.
        where: What it is about, if that is known.
        remedy: What to do about it, if that is known.
        details: A traceback, or nothing.
    """

    code: ExitCode
    problem: str
    where: str = ""
    remedy: str = ""
    details: str = ""

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Makes a failure of what a worker raised before it was ready."""
        if isinstance(error, SettingsError):
            return cls(error.exit_code, error.problem, error.where, error.remedy)
        if isinstance(error, TargetError):
            what = (error.problem, error.target, error.remedy, error.details)
            return cls(error.exit_code, *what)
        problem = f"{type(error).__name__}: {error}"
        return cls(ExitCode.BOOT_FAILED, problem, details="".join(format_exception(error)))

    def in_words(self) -> str:
        """Says it for the log: one line, and its traceback if there is one."""
        line = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{line}\n{self.details.rstrip()}" if self.details else line
