"""When a worker is started, replaced, told to stop, killed or given up. Pure.

Rule 1: everything that decides over a worker's life is in this file. It knows no clock, no process
and no signal: `actions = rules.handle(event, now)`, and the driver does what the actions say.

A *place* is one of the workers that there shall be, numbered from 1. Most of the time it has one
worker. While it is renewed it has two: the one that serves, and a successor that boots and takes
over once it is ready. Workers that were replaced drain beside the places, until they are gone.

Guarantees, whatever the order of events and however the clock moves:

* a place has one worker that serves or boots, and at most one successor;
* before the stop, every place has a worker, or a time at which it gets one;
* a worker is told to drain only when its successor is ready; a successor that fails leaves the
  worker that serves where it is, and ends the reload;
* a reload has succeeded when every place has a worker of the new code that is ready, whichever
  died meanwhile, and no old one takes work; it has failed when one of the new code cannot boot;
* beyond the places there are at most `overlap` processes when a successor is started, and nobody
  drains still who was replaced by the reload before; there are none when it is started for a worker
  that has lived long enough: those are renewed one by one;
* after the stop no worker is started, every worker is told once for each kind of stop and killed
  when its time is up, and `Finish` comes exactly once, when all are gone or cannot be killed;
* a worker that cannot boot ends the whole only while nobody serves, or before everybody did; and
  it does so once no place that boots has had fewer than `boot_tries` failures.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

from manycore.errors import ExitCode

from .events import (
    Abandon,
    Action,
    Announce,
    Begin,
    Booted,
    BootFailed,
    BootFails,
    Event,
    Exited,
    Failure,
    Finish,
    Hung,
    Interrupted,
    LetGo,
    Pause,
    Policy,
    ReloadAsked,
    ReloadEnds,
    ScaleAsked,
    Spawn,
    Spent,
    StopAsked,
    StopBegins,
    SuccessorFails,
    Tell,
    TimePassed,
    Urgency,
    WorkEnds,
)

UNKILLABLE_AFTER = 5.0  # seconds after KILL: a process that is still there hangs in the kernel
ABORT_PATIENCE = 5.0  # seconds after ABRT, in which a core dump is written
STOP_MARGIN = 2.0  # seconds beyond the grace period, in which a worker ends its handlers itself


class Stage(Enum):
    """Where a worker stands in its life."""

    BOOTING = auto()
    READY = auto()
    STOPPING = auto()


@dataclass(slots=True)
class _Worker:
    number: int
    generation: int
    since: float
    deadline: float | None  # what comes then depends on the stage
    stage: Stage = Stage.BOOTING
    told: Urgency = Urgency.NONE
    failure: Failure | None = None  # what it reported of its boot
    takes_work: bool = True
    was_ready: bool = False
    relieves: bool = False  # it succeeds one that has lived long enough


@dataclass(slots=True)
class _Place:
    worker: int | None = None  # the one that serves, or boots because nobody does
    successor: int | None = None
    retry_at: float | None = None  # while there is no worker
    deaths: int = 0  # in a row: young, or before ready
    boots_failed: int = 0  # in a row

    @property
    def is_empty(self) -> bool:
        return self.worker is None and self.retry_at is None


@dataclass(slots=True)
class Rules:
    """The state of all workers.

    Attributes:
        policy: What they go by.
        urgency: The stop that is under way, if one is.
        announced: Every worker was ready at some time.
        generation: How many reloads were begun.
    """

    policy: Policy
    urgency: Urgency = Urgency.NONE
    announced: bool = False
    generation: int = 0
    _workers: dict[int, _Worker] = field(default_factory=dict)
    _places: dict[int, _Place] = field(default_factory=dict)
    _begun: bool = False
    _spawned: int = 0
    _reloading: bool = False
    _reload_again: bool = False  # one was asked for that cannot begin yet
    _renew: deque[int] = field(default_factory=deque)  # places that still have an old worker
    _spent: deque[int] = field(default_factory=deque)  # who has lived long enough
    _spent_again: float | None = None  # when the next of them may be tried
    _failure: Failure | None = None
    _work_ended: bool = False
    _finished: bool = False

    def __post_init__(self) -> None:
        self._places = {number: _Place() for number in range(1, self.policy.workers + 1)}

    @property
    def workers(self) -> int:
        """How many workers there shall be."""
        return len(self._places)

    @property
    def reloading(self) -> bool:
        """Whether workers are being renewed, or are about to be."""
        return self._reloading or self._reload_again

    def stages(self) -> dict[int, Stage]:
        """Where each worker stands, whether it has a place or was replaced."""
        return {name: worker.stage for name, worker in self._workers.items()}

    def deadline(self) -> float | None:
        """When `TimePassed` has to be handled next; None: nothing is timed."""
        times = [worker.deadline for worker in self._workers.values()]
        times += [place.retry_at for place in self._places.values()]
        times.append(self._spent_again)
        return min((time for time in times if time is not None), default=None)

    def handle(self, event: Event, now: float) -> list[Action]:  # noqa: C901, PLR0912  # a table
        """Takes in what happened and says what is to be done, in order."""
        if self._finished:
            return []
        actions: list[Action] = []
        match event:
            case Begin():
                actions = self._begin(now)
            case Booted(worker):
                actions = self._booted(worker, now)
            case BootFailed(worker, failure):
                if worker in self._workers:
                    self._workers[worker].failure = failure
            case LetGo(worker):
                if worker in self._workers:
                    self._workers[worker].takes_work = False
            case Spent(worker):
                self._spent.append(worker)
            case Hung(worker):
                actions = self._abort(worker, now)
            case Exited(worker, how):
                actions = self._exited(worker, how, now)
            case StopAsked(urgency):
                actions = self._stop(urgency, now)
            case Interrupted():
                again = self.urgency >= Urgency.QUICK
                actions = self._stop(Urgency.NOW if again else Urgency.QUICK, now)
            case ReloadAsked():
                self._reload_again = not self.urgency
            case ScaleAsked(workers):
                actions = self._scale(workers, now)
            case TimePassed():
                actions = self._time_passed(now)
        renewals = self._announce() + self._renew_workers(now) + self._renew_spent(now)
        return actions + renewals + self._end_work() + self._finish()

    def _begin(self, now: float) -> list[Action]:
        if self.urgency:
            return []
        self._begun = True
        return [self._fill(number, now) for number, p in self._places.items() if p.is_empty]

    def _spawn(self, number: int, now: float) -> Spawn:
        self._spawned += 1
        deadline = now + self.policy.boot_timeout
        self._workers[self._spawned] = _Worker(number, self.generation, now, deadline)
        return Spawn(self._spawned, number, self.generation)

    def _fill(self, number: int, now: float) -> Action:
        """Gives a place that has nobody a worker."""
        action = self._spawn(number, now)
        place = self._places[number]
        place.worker, place.retry_at = action.worker, None
        return action

    def _booted(self, name: int, now: float) -> list[Action]:
        worker = self._workers.get(name)
        if worker is None or worker.stage is not Stage.BOOTING or worker.told:
            return []
        worker.stage, worker.since, worker.deadline = Stage.READY, now, None
        worker.was_ready = True
        place = self._places[worker.number]
        place.boots_failed = 0
        if place.successor != name:
            return []
        predecessor, place.worker, place.successor = place.worker, name, None
        if predecessor is None or self._workers[predecessor].told:
            return []
        return [self._tell(predecessor, Urgency.GRACEFUL, now)]

    def _announce(self) -> list[Action]:
        if self.announced or self.urgency:
            return []
        if not all(self._is_ready(place.worker) for place in self._places.values()):
            return []
        self.announced = True
        return [Announce()]

    def _is_ready(self, name: int | None) -> bool:
        return name is not None and self._workers[name].stage is Stage.READY

    def _exited(self, name: int, how: str, now: float) -> list[Action]:
        worker = self._workers.pop(name, None)
        if worker is None or self.urgency:
            return []
        place = self._places.get(worker.number)
        if place is not None and place.successor == name:
            place.successor = None
            return self._successor_failed(worker, how, now)
        if place is None or place.worker != name:
            return []  # it was replaced, or is too many
        place.worker, place.successor = place.successor, None
        actions: list[Action] = []
        if worker.was_ready:
            place.deaths = place.deaths + 1 if now - worker.since < self.policy.young else 0
        else:
            place.deaths += 1
            place.boots_failed += 1
            failure = _boot_failure(worker, how)
            if self._is_hopeless(place, failure):
                self._failure = failure
                return self._stop(Urgency.QUICK, now)
            if self._reloading and worker.generation == self.generation:
                actions = self._end_reload(failure)
            elif self.announced and worker.failure is not None:  # else its end says enough
                actions = [BootFails(worker.number, failure)]
        return actions if place.worker is not None else actions + self._refill(worker.number, now)

    def _is_hopeless(self, place: _Place, failure: Failure) -> bool:
        """Whether to give up, now that a boot has failed."""
        if not self.announced and failure.code in {ExitCode.TARGET_FAILED, ExitCode.USAGE}:
            return True  # it would fail for every worker in the same way
        if place.boots_failed < self.policy.boot_tries:
            return False
        return not (self.announced and any(map(self._gives_hope, self._workers.values())))

    def _gives_hope(self, worker: _Worker) -> bool:
        """Whether a worker serves, or boots in a place where that was not tried enough yet."""
        if worker.stage is not Stage.BOOTING:
            return worker.stage is Stage.READY
        place = self._places.get(worker.number)
        return place is not None and place.boots_failed < self.policy.boot_tries

    def _refill(self, number: int, now: float) -> list[Action]:
        """Gives a place a worker after its last one died: at once, or after a pause."""
        place = self._places[number]
        if place.deaths <= 1:
            return [self._fill(number, now)]
        doublings = min(place.deaths - 2, 32)  # beyond, any pause is the longest
        pause = min(self.policy.first_pause * 2**doublings, self.policy.longest_pause)
        place.retry_at = now + pause
        return [Pause(number, pause)]

    def _renew_workers(self, now: float) -> list[Action]:
        """Begins a reload, starts successors as far as there is room, ends it when all is new."""
        actions: list[Action] = []
        while self.announced and not self.urgency:
            if not self._reloading:
                if not self._reload_again:
                    break
                self._reloading, self._reload_again = True, False
                self.generation += 1
                self._renew = deque(sorted(self._places))
            actions += self._start_successors(now)
            if self._renew or not self._only_new_code_serves():
                break
            actions += self._end_reload(None)
        return actions

    def _start_successors(self, now: float) -> list[Action]:
        actions: list[Action] = []
        while self._renew:
            place = self._places.get(self._renew[0])
            old = None if place is None or place.worker is None else self._workers[place.worker]
            if place is not None and old is not None and old.generation < self.generation:
                extra = len(self._workers) - len(self._places)
                is_free = old.stage is Stage.READY and place.successor is None
                if not is_free or extra >= self.policy.overlap or self._older_ones_drain():
                    break
                action = self._spawn(self._renew[0], now)
                place.successor = action.worker
                actions.append(action)
            self._renew.popleft()
        return actions

    def _renew_spent(self, now: float) -> list[Action]:
        """Starts a successor for one that has lived long enough, if nothing else is renewed."""
        if self._spent_again is not None and now >= self._spent_again:
            self._spent_again = None
        if self.urgency or not self.announced or self.reloading or self._spent_again is not None:
            return []
        while self._spent and len(self._workers) <= len(self._places):
            name = self._spent.popleft()
            worker = self._workers.get(name)
            if worker is None or worker.stage is not Stage.READY:
                continue  # it is gone, or was replaced for another reason
            if self._places[worker.number].successor is not None:
                continue  # what is left of a reload that failed will replace it
            action = self._spawn(worker.number, now)
            self._places[worker.number].successor = action.worker
            self._workers[action.worker].relieves = True
            return [action]
        return []

    def _successor_failed(self, worker: _Worker, how: str, now: float) -> list[Action]:
        if worker.relieves:
            return self._try_later(worker, how, now)
        if not self._reloading or worker.generation < self.generation:
            return []  # what is left of a reload that failed
        return self._end_reload(_boot_failure(worker, how))

    def _try_later(self, successor: _Worker, how: str, now: float) -> list[Action]:
        """Leaves a worker where it is whose successor could not boot, for a while."""
        old = self._places[successor.number].worker
        if old is not None:
            self._spent.append(old)
        pause = self.policy.longest_pause
        self._spent_again = now + pause
        return [SuccessorFails(successor.number, _boot_failure(successor, how), pause)]

    def _abort(self, name: int, now: float) -> list[Action]:
        worker = self._workers.get(name)
        if worker is None or worker.stage is Stage.BOOTING or worker.told >= Urgency.ABORT:
            return []
        return [self._tell(name, Urgency.ABORT, now)]

    def _only_new_code_serves(self) -> bool:
        """Whether every place has a new worker that is ready, and no old one takes work still."""
        return all(
            place.successor is None
            and self._is_ready(place.worker)
            and self._generation_in(place) == self.generation
            for place in self._places.values()
        ) and not any(
            worker.generation < self.generation and worker.takes_work
            for worker in self._workers.values()
        )

    def _generation_in(self, place: _Place) -> int:
        """Gives the generation of who serves in a place; where nobody does, a new one will."""
        return self.generation if place.worker is None else self._workers[place.worker].generation

    def _older_ones_drain(self) -> bool:
        """Whether a worker drains whose code is older than all that serves: a third generation."""
        oldest = min(map(self._generation_in, self._places.values()))
        return any(worker.generation < oldest for worker in self._workers.values())

    def _end_reload(self, failure: Failure | None) -> list[Action]:
        self._reloading = False
        self._renew.clear()
        return [ReloadEnds(self.generation, failure)]

    def _scale(self, workers: int, now: float) -> list[Action]:
        if self.urgency:
            return []
        actions: list[Action] = []
        workers = max(1, workers)
        for number in range(len(self._places) + 1, workers + 1):
            self._places[number] = _Place()
            if self._begun:
                actions.append(self._fill(number, now))
        for number in range(len(self._places), workers, -1):
            place = self._places.pop(number)
            names = [name for name in (place.worker, place.successor) if name is not None]
            living = [name for name in names if not self._workers[name].told]
            actions += [self._tell(name, Urgency.GRACEFUL, now) for name in living]
        return actions

    def _stop(self, urgency: Urgency, now: float) -> list[Action]:
        if urgency <= self.urgency:
            return []
        actions: list[Action] = [] if self.urgency else [StopBegins()]
        self._reload_again = False
        self._spent_again = None
        if self._reloading:
            actions += self._end_reload(Failure(ExitCode.FAILED, "the server is stopping"))
        self.urgency = urgency
        for place in self._places.values():
            place.retry_at = None
        return actions + [
            self._tell(name, urgency, now)
            for name, worker in self._workers.items()
            if worker.told < urgency
        ]

    def _tell(self, name: int, urgency: Urgency, now: float) -> Action:
        worker = self._workers[name]
        worker.stage, worker.told = Stage.STOPPING, urgency
        patience = {
            Urgency.GRACEFUL: self.policy.graceful_timeout + STOP_MARGIN,
            Urgency.QUICK: STOP_MARGIN,
            Urgency.ABORT: ABORT_PATIENCE,
            Urgency.NOW: UNKILLABLE_AFTER,
        }
        worker.deadline = now + patience[urgency]
        return Tell(name, urgency)

    def _time_passed(self, now: float) -> list[Action]:
        actions: list[Action] = []
        for name, worker in list(self._workers.items()):
            if worker.deadline is not None and worker.deadline <= now:
                actions += self._overdue(name, now)
        for number, place in self._places.items():
            if place.retry_at is not None and place.retry_at <= now:
                actions.append(self._fill(number, now))
        return actions

    def _overdue(self, name: int, now: float) -> list[Action]:
        """Kills a worker that boots, or stops, for too long; gives up one that survives that."""
        worker = self._workers[name]
        if worker.told < Urgency.NOW:
            if worker.stage is Stage.BOOTING and worker.failure is None:
                took = f"took more than {self.policy.boot_timeout:g} s to boot"
                worker.failure = Failure(ExitCode.BOOT_FAILED, f"worker {worker.number} {took}")
            return [self._tell(name, Urgency.NOW, now)]
        return [Abandon(name), *self._exited(name, "cannot be killed", now)]

    def _end_work(self) -> list[Action]:
        if self._work_ended or not self.urgency or not self._workers:
            return []
        if any(worker.takes_work for worker in self._workers.values()):
            return []
        self._work_ended = True
        return [WorkEnds()]

    def _finish(self) -> list[Action]:
        if not self.urgency or self._workers:
            return []
        self._finished = True
        return [Finish(self._failure)]


def _boot_failure(worker: _Worker, how: str) -> Failure:
    if worker.failure is not None:
        return worker.failure
    problem = f"worker {worker.number} {how} before it was ready"
    return Failure(ExitCode.BOOT_FAILED, problem)
