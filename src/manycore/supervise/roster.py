"""The workers and their places, as the rules of supervision keep them. Pure.

A *place* is one of the workers that there shall be, numbered from 1. Most of the time it has one
worker. While it is renewed it has two: the one that serves, and a successor that boots and takes
over once it is ready. Workers that were replaced drain beside the places, until they are gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from manycore.errors import ExitCode

from .events import Failure, Policy, Spawn, Tell, Urgency

UNKILLABLE_AFTER = 5.0  # seconds after KILL: a process that is still there hangs in the kernel
ABORT_PATIENCE = 5.0  # seconds after ABRT, in which a core dump is written
STOP_MARGIN = 2.0  # seconds beyond the grace period, in which a worker ends its handlers itself


class Stage(Enum):
    """Where a worker stands in its life."""

    BOOTING = auto()
    READY = auto()
    STOPPING = auto()


@dataclass(slots=True)
class Worker:
    """One worker.

    Attributes:
        number: Its place.
        generation: How many reloads came before it.
        since: When it was started, or became ready.
        deadline: What comes then depends on the stage; None: nothing.
        stage: Where it stands in its life.
        told: The most urgent stop that it was told of.
        failure: What it reported of its boot.
        takes_work: It has not let go of it yet.
        was_ready: It has been, at some time.
        relieves: It succeeds one that has lived long enough.
    """

    number: int
    generation: int
    since: float
    deadline: float | None
    stage: Stage = Stage.BOOTING
    told: Urgency = Urgency.NONE
    failure: Failure | None = None
    takes_work: bool = True
    was_ready: bool = False
    relieves: bool = False

    def boot_failure(self, how: str) -> Failure:
        """Gives why it could not boot, now that it has ended."""
        if self.failure is not None:
            return self.failure
        problem = f"worker {self.number} {how} before it was ready"
        return Failure(ExitCode.BOOT_FAILED, problem)


@dataclass(slots=True)
class Place:
    """One place.

    Attributes:
        worker: The one that serves, or boots because nobody does.
        successor: The one that boots beside it.
        retry_at: When there will be a worker, while there is none.
        deaths: In a row: young, or before ready.
        boots_failed: In a row.
    """

    worker: int | None = None
    successor: int | None = None
    retry_at: float | None = None
    deaths: int = 0
    boots_failed: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether it has no worker, and no time at which it gets one."""
        return self.worker is None and self.retry_at is None


@dataclass(slots=True)
class Roster:
    """All of them.

    Attributes:
        policy: What the rules go by.
        generation: How many reloads were begun.
        workers: By name.
        places: By number.
    """

    policy: Policy
    generation: int = 0
    workers: dict[int, Worker] = field(default_factory=dict)
    places: dict[int, Place] = field(default_factory=dict)
    _spawned: int = 0

    def __post_init__(self) -> None:
        self.places = {number: Place() for number in range(1, self.policy.workers + 1)}

    def fill(self, number: int, now: float) -> Spawn:
        """Gives a place that has nobody a worker."""
        order = self._spawn(number, now)
        place = self.places[number]
        place.worker, place.retry_at = order.worker, None
        return order

    def succeed(self, number: int, now: float) -> Spawn:
        """Gives the worker of a place a successor."""
        order = self._spawn(number, now)
        self.places[number].successor = order.worker
        return order

    def _spawn(self, number: int, now: float) -> Spawn:
        self._spawned += 1
        deadline = now + self.policy.boot_timeout
        self.workers[self._spawned] = Worker(number, self.generation, now, deadline)
        return Spawn(self._spawned, number, self.generation)

    def tell(self, name: int, urgency: Urgency, now: float) -> Tell:
        """Tells a worker to stop."""
        worker = self.workers[name]
        worker.stage, worker.told = Stage.STOPPING, urgency
        patience = {
            Urgency.GRACEFUL: self.policy.graceful_timeout + STOP_MARGIN,
            Urgency.QUICK: STOP_MARGIN,
            Urgency.ABORT: ABORT_PATIENCE,
            Urgency.NOW: UNKILLABLE_AFTER,
        }
        worker.deadline = now + patience[urgency]
        return Tell(name, urgency)

    @property
    def extra(self) -> int:
        """How many processes there are beyond the places."""
        return len(self.workers) - len(self.places)

    def any_beside(self) -> bool:
        """Whether there is anybody but one worker in each place: a successor, or who drains."""
        return len(self.workers) > sum(place.worker is not None for place in self.places.values())

    def is_ready(self, name: int | None) -> bool:
        """Whether there is this worker, and it serves."""
        return name is not None and self.workers[name].stage is Stage.READY

    def all_ready(self) -> bool:
        """Whether every place has a worker that serves."""
        return all(self.is_ready(place.worker) for place in self.places.values())

    def generation_in(self, place: Place) -> int:
        """Gives the generation of who serves in a place; where nobody does, a new one will."""
        return self.generation if place.worker is None else self.workers[place.worker].generation

    def deadlines(self) -> list[float | None]:
        """Gives when something is due, for each worker and each place."""
        times = [worker.deadline for worker in self.workers.values()]
        return times + [place.retry_at for place in self.places.values()]
