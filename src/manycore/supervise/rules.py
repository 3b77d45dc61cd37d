"""When a worker is started, told to stop, killed or given up. Pure.

Rule 1: everything that decides over a worker's life is in this file. It knows no clock, no process
and no signal: `actions = rules.handle(event, now)`, and the driver does what the actions say.

Guarantees, whatever the order of events and however the clock moves:

* a number has one worker at a time: `Spawn(n)` comes only when worker n is known to be gone;
* before the stop, every number has a worker, or a time at which it gets one;
* after the stop no worker is started, every worker is told once for each kind of stop and killed
  when its time is up, and `Finish` comes exactly once, when all are gone or cannot be killed;
* a worker that cannot boot ends the whole only while nobody serves, or before everybody did.

A worker's life::

    WAITING --Spawn--> BOOTING --Booted--> READY --Exited--> WAITING (and at once, or after
       ^                  |                                     a pause, BOOTING again)
       +---Exited---------+            any --stop--> STOPPING --Exited--> GONE
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto
from typing import TypeAlias

from manycore.errors import ExitCode

UNKILLABLE_AFTER = 5.0  # seconds after KILL: a process that is still there hangs in the kernel
BOOT_TRIES = 3  # a boot that fails by chance may fail twice
STOP_MARGIN = 2.0  # seconds beyond the grace period, in which a worker ends its handlers itself


class Stage(Enum):
    """Where a worker's number stands."""

    WAITING = auto()
    BOOTING = auto()
    READY = auto()
    STOPPING = auto()
    GONE = auto()


class Urgency(IntEnum):
    """How a stop is meant; a later, more urgent one overrides an earlier one."""

    NONE = 0
    GRACEFUL = 1  #: what is queued is served, what is open may finish
    QUICK = 2  #: open connections are ended, handlers get a moment to return
    NOW = 3  #: everything is killed


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
        boot_tries: After so many boots in a row that failed, a number cannot boot.
    """

    workers: int
    graceful_timeout: float = 30.0
    boot_timeout: float = 60.0
    young: float = 1.0
    first_pause: float = 0.1
    longest_pause: float = 30.0
    boot_tries: int = BOOT_TRIES


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
class TimePassed:
    """A deadline may have come."""


Event: TypeAlias = Begin | Booted | BootFailed | Exited | StopAsked | Interrupted | TimePassed


# What is to be done.


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a worker under this number."""

    worker: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell a worker to stop, this urgently."""

    worker: int
    urgency: Urgency


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing to do but to say so: the number's next worker comes after a pause."""

    worker: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Announce:
    """Every worker is ready, for the first time."""


@dataclass(frozen=True, slots=True)
class StopBegins:
    """The first stop was asked for: what takes in new work shall take in no more."""


@dataclass(frozen=True, slots=True)
class Abandon:
    """A worker survived KILL; the kernel holds it."""

    worker: int


@dataclass(frozen=True, slots=True)
class Finish:
    """All is over."""

    failure: Failure | None


Action: TypeAlias = Spawn | Tell | Pause | Announce | StopBegins | Abandon | Finish


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


@dataclass(slots=True)
class _Slot:
    stage: Stage = Stage.WAITING
    since: float = 0.0
    deadline: float | None = None  # what comes then depends on the stage
    told: Urgency = Urgency.NONE
    deaths: int = 0  # in a row: young, or before ready
    boots_failed: int = 0  # in a row
    failure: Failure | None = None  # what the present boot reported


@dataclass(slots=True)
class Rules:
    """The state of all workers. Workers are numbered from 1.

    Attributes:
        policy: What they go by.
        urgency: The stop that is under way, if one is.
        announced: Every worker was ready at some time.
    """

    policy: Policy
    urgency: Urgency = Urgency.NONE
    announced: bool = False
    _slots: dict[int, _Slot] = field(default_factory=dict)
    _failure: Failure | None = None
    _finished: bool = False

    def __post_init__(self) -> None:
        self._slots = {number: _Slot() for number in range(1, self.policy.workers + 1)}

    def stages(self) -> dict[int, Stage]:
        """Where each number stands."""
        return {number: slot.stage for number, slot in self._slots.items()}

    def deadline(self) -> float | None:
        """When `TimePassed` has to be handled next; None: nothing is timed."""
        return min(
            (slot.deadline for slot in self._slots.values() if slot.deadline is not None),
            default=None,
        )

    def handle(self, event: Event, now: float) -> list[Action]:
        """Takes in what happened and says what is to be done, in order."""
        if self._finished:
            return []
        actions: list[Action] = []
        match event:
            case Begin():
                actions = [
                    self._spawn(number, now)
                    for number, slot in self._slots.items()
                    if slot.stage is Stage.WAITING and slot.deadline is None
                ]
            case Booted(worker):
                actions = self._booted(worker, now)
            case BootFailed(worker, failure):
                self._slots[worker].failure = failure
            case Exited(worker, how):
                actions = self._exited(worker, how, now)
            case StopAsked(urgency):
                actions = self._stop(urgency, now)
            case Interrupted():
                again = self.urgency >= Urgency.QUICK
                actions = self._stop(Urgency.NOW if again else Urgency.QUICK, now)
            case TimePassed():
                actions = [
                    action
                    for number, slot in self._slots.items()
                    if slot.deadline is not None and slot.deadline <= now
                    for action in self._overdue(number, now)
                ]
        return actions + self._finish()

    def _spawn(self, number: int, now: float) -> Action:
        slot = self._slots[number]
        slot.stage, slot.since = Stage.BOOTING, now
        slot.deadline = now + self.policy.boot_timeout
        slot.told, slot.failure = Urgency.NONE, None
        return Spawn(number)

    def _booted(self, number: int, now: float) -> list[Action]:
        slot = self._slots[number]
        if slot.stage is not Stage.BOOTING or slot.told:
            return []
        slot.stage, slot.since, slot.deadline = Stage.READY, now, None
        slot.boots_failed = 0
        if self.announced or any(other.stage is not Stage.READY for other in self._slots.values()):
            return []
        self.announced = True
        return [Announce()]

    def _exited(self, number: int, how: str, now: float) -> list[Action]:
        slot = self._slots[number]
        if self.urgency:
            slot.stage, slot.deadline = Stage.GONE, None
            return []
        if slot.stage is Stage.READY:
            slot.deaths = slot.deaths + 1 if now - slot.since < self.policy.young else 0
            return self._replace(number, now)
        slot.deaths += 1
        slot.boots_failed += 1
        failure = slot.failure or Failure(
            ExitCode.BOOT_FAILED, f"worker {number} {how} before it was ready"
        )
        slot.stage, slot.deadline = Stage.WAITING, None
        if self._is_hopeless(slot, failure):
            self._failure = failure
            return self._stop(Urgency.QUICK, now)
        return self._replace(number, now)

    def _is_hopeless(self, slot: _Slot, failure: Failure) -> bool:
        """Whether to give up, now that a boot has failed."""
        if not self.announced and failure.code is ExitCode.TARGET_FAILED:
            return True  # it would fail for every worker in the same way
        alive = {Stage.READY, Stage.BOOTING}
        somebody_serves = any(other.stage in alive for other in self._slots.values())
        tried_enough = slot.boots_failed >= self.policy.boot_tries
        return tried_enough and not (self.announced and somebody_serves)

    def _replace(self, number: int, now: float) -> list[Action]:
        slot = self._slots[number]
        if slot.deaths <= 1:
            return [self._spawn(number, now)]
        doublings = min(slot.deaths - 2, 32)  # beyond, any pause is the longest
        pause = min(self.policy.first_pause * 2**doublings, self.policy.longest_pause)
        slot.stage, slot.since, slot.deadline = Stage.WAITING, now, now + pause
        return [Pause(number, pause)]

    def _stop(self, urgency: Urgency, now: float) -> list[Action]:
        if urgency <= self.urgency:
            return []
        actions: list[Action] = [] if self.urgency else [StopBegins()]
        self.urgency = urgency
        for number, slot in self._slots.items():
            if slot.stage is Stage.WAITING:
                slot.stage, slot.deadline = Stage.GONE, None
            elif slot.told is Urgency.NOW and slot.deadline is None:
                slot.stage = Stage.GONE  # abandoned before
            elif slot.stage is not Stage.GONE and slot.told < urgency:
                slot.stage = Stage.STOPPING
                actions.append(self._tell(number, urgency, now))
        return actions

    def _tell(self, number: int, urgency: Urgency, now: float) -> Action:
        slot = self._slots[number]
        slot.told = urgency
        patience = {
            Urgency.GRACEFUL: self.policy.graceful_timeout + STOP_MARGIN,
            Urgency.QUICK: STOP_MARGIN,
            Urgency.NOW: UNKILLABLE_AFTER,
        }
        slot.deadline = now + patience[urgency]
        return Tell(number, urgency)

    def _overdue(self, number: int, now: float) -> list[Action]:
        slot = self._slots[number]
        if slot.stage is Stage.WAITING:
            return [self._spawn(number, now)]
        if slot.told < Urgency.NOW:  # it boots, or stops, for too long
            if slot.stage is Stage.BOOTING and slot.failure is None:
                took = f"took more than {self.policy.boot_timeout:g} s to boot"
                slot.failure = Failure(ExitCode.BOOT_FAILED, f"worker {number} {took}")
            return [self._tell(number, Urgency.NOW, now)]
        slot.deadline = None
        if self.urgency:
            slot.stage = Stage.GONE
        return [Abandon(number)]

    def _finish(self) -> list[Action]:
        if not self.urgency or any(s.stage is not Stage.GONE for s in self._slots.values()):
            return []
        self._finished = True
        return [Finish(self._failure)]
