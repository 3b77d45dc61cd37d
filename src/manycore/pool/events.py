"""What may happen to a pool's workers: what its rules are told. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Begin:
    """The dispatcher is ready to start workers."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker has run its initializer."""

    worker: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A worker is through with the oldest message; so many of its tasks took so long.

    Attributes:
        worker: Which.
        count: How many tasks.
        seconds: How long they took together.
        size: How many bytes their results were together; 0: few.
    """

    worker: int
    count: int
    seconds: float
    size: int = 0


@dataclass(frozen=True, slots=True)
class Skipped:
    """A worker says that it did not begin a task, because it was recalled."""

    worker: int
    number: int


@dataclass(frozen=True, slots=True)
class Looked:
    """A worker's counts were read, as `Look` asked.

    Attributes:
        worker: Which.
        begun: How many tasks it has begun.
        running: Seconds that the one which has a timeout has been running; 0: none.
        stopped: Whether the worker is held by a signal, and so begins nothing.
    """

    worker: int
    begun: int
    running: float
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Died:
    """A worker has ended, and what it had done was collected."""

    worker: int
    begun: int
    told: bool = False  #: its initializer has failed, and it said so


@dataclass(frozen=True, slots=True)
class Full:
    """A worker has used what it may use: it is to be replaced."""

    worker: int


@dataclass(frozen=True, slots=True)
class Unwanted:
    """A worker's running task is to be ended, if it is this one."""

    worker: int


@dataclass(frozen=True, slots=True)
class CloseAsked:
    """Nothing more will be queued."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """All is to end now; the queue has been emptied."""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Something may have come into the queue, or a moment may have come."""


Event: TypeAlias = (
    Begin
    | Ready
    | Answered
    | Skipped
    | Looked
    | Died
    | Full
    | Unwanted
    | CloseAsked
    | StopAsked
    | TimePassed
)
