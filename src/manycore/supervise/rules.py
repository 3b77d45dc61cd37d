"""When a worker is started, replaced, told to stop, killed or given up. Pure.

Rule 1: everything that decides over a worker's life is in this file and the two that it stands on:
`roster`, the workers and their places, and `renewal`, the replacing of those that serve. None knows
a clock, a process or a signal: `actions = rules.handle(event, now)`, and the driver does what the
actions say.

Guarantees, whatever the order of events and however the clock moves:

* a place has one worker that serves or boots, and at most one successor;
* before the stop, every place has a worker, or a time at which it gets one;
* a worker is told to drain only when its successor is ready; a successor that fails leaves the
  worker that serves where it is, and ends the reload;
* a reload has succeeded when every place has a worker of the new code that is ready, whichever
  died meanwhile, and no old one takes work; it has failed when one of the new code cannot boot;
* beyond the places there are at most `overlap` processes when a successor is started, and nobody
  drains still who was replaced by the reload before;
* workers that have lived long enough are renewed one by one: the next when nobody is there but one
  worker in each place, or in fewer;
* after the stop no worker is started, every worker is told once for each kind of stop and killed
  when its time is up, and `Finish` comes exactly once, when all are gone or cannot be killed;
* a worker that cannot boot ends the whole only while nobody serves, or before everybody did; and
  it does so once no place that boots has had fewer than `boot_tries` failures.
"""

from __future__ import annotations

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
    ScaleAsked,
    Spent,
    StopAsked,
    StopBegins,
    TimePassed,
    Urgency,
    WorkEnds,
)
from .renewal import Renewal
from .roster import Place, Roster, Stage, Worker


class Rules:
    """The state of all workers.

    Args:
        policy: What they go by.

    Attributes:
        urgency: The stop that is under way, if one is.
        announced: Every worker was ready at some time.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.urgency = Urgency.NONE
        self.announced = False
        self._roster = Roster(policy)
        self._workers, self._places = self._roster.workers, self._roster.places
        self._renewal = Renewal(self._roster)
        self._begun = False
        self._failure: Failure | None = None
        self._work_ended = False
        self._finished = False

    @property
    def generation(self) -> int:
        """How many reloads were begun."""
        return self._roster.generation

    @property
    def workers(self) -> int:
        """How many workers there shall be."""
        return len(self._places)

    @property
    def reloading(self) -> bool:
        """Whether workers are being renewed, or are about to be."""
        return self._renewal.reloading

    def stages(self) -> dict[int, Stage]:
        """Where each worker stands, whether it has a place or was replaced."""
        return {name: worker.stage for name, worker in self._workers.items()}

    def deadline(self) -> float | None:
        """When `TimePassed` has to be handled next; None: nothing is timed."""
        times = [*self._roster.deadlines(), self._renewal.deadline]
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
                self._renewal.add_spent(worker)
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
                if not self.urgency:
                    self._renewal.ask_reload()
            case ScaleAsked(workers):
                actions = self._scale(workers, now)
            case TimePassed():
                actions = self._time_passed(now)
        actions += self._announce()
        if self.announced and not self.urgency:
            actions += self._renewal.advance(now)
        return actions + self._end_work() + self._finish()

    def _begin(self, now: float) -> list[Action]:
        if self.urgency:
            return []
        self._begun = True
        return [self._roster.fill(number, now) for number, p in self._places.items() if p.is_empty]

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
        return [self._roster.tell(predecessor, Urgency.GRACEFUL, now)]

    def _announce(self) -> list[Action]:
        if self.announced or self.urgency or not self._roster.all_ready():
            return []
        self.announced = True
        return [Announce()]

    def _exited(self, name: int, how: str, now: float) -> list[Action]:
        worker = self._workers.pop(name, None)
        if worker is None or self.urgency:
            return []
        place = self._places.get(worker.number)
        if place is not None and place.successor == name:
            place.successor = None
            return self._renewal.successor_failed(worker, how, now)
        if place is None or place.worker != name:
            return []  # it was replaced, or is too many
        place.worker, place.successor = place.successor, None
        actions: list[Action] = []
        if worker.was_ready:
            place.deaths = place.deaths + 1 if now - worker.since < self.policy.young else 0
        else:
            place.deaths += 1
            place.boots_failed += 1
            failure = worker.boot_failure(how)
            if self._is_hopeless(place, failure):
                self._failure = failure
                return self._stop(Urgency.QUICK, now)
            ended = self._renewal.boot_failed(worker, failure)
            if ended is not None:
                actions = ended
            elif self.announced and worker.failure is not None:  # else its end says enough
                actions = [BootFails(worker.number, failure)]
        return actions if place.worker is not None else actions + self._refill(worker.number, now)

    def _is_hopeless(self, place: Place, failure: Failure) -> bool:
        """Whether to give up, now that a boot has failed."""
        if not self.announced and failure.code in {ExitCode.TARGET_FAILED, ExitCode.USAGE}:
            return True  # it would fail for every worker in the same way
        if place.boots_failed < self.policy.boot_tries:
            return False
        return not (self.announced and any(map(self._gives_hope, self._workers.values())))

    def _gives_hope(self, worker: Worker) -> bool:
        """Whether a worker serves, or boots in a place where that was not tried enough yet."""
        if worker.stage is not Stage.BOOTING:
            return worker.stage is Stage.READY
        place = self._places.get(worker.number)
        return place is not None and place.boots_failed < self.policy.boot_tries

    def _refill(self, number: int, now: float) -> list[Action]:
        """Gives a place a worker after its last one died: at once, or after a pause."""
        place = self._places[number]
        if place.deaths <= 1:
            return [self._roster.fill(number, now)]
        doublings = min(place.deaths - 2, 32)  # beyond, any pause is the longest
        pause = min(self.policy.first_pause * 2**doublings, self.policy.longest_pause)
        place.retry_at = now + pause
        return [Pause(number, pause)]

    def _abort(self, name: int, now: float) -> list[Action]:
        worker = self._workers.get(name)
        if worker is None or worker.stage is Stage.BOOTING or worker.told >= Urgency.ABORT:
            return []
        return [self._roster.tell(name, Urgency.ABORT, now)]

    def _scale(self, workers: int, now: float) -> list[Action]:
        if self.urgency:
            return []
        actions: list[Action] = []
        workers = max(1, workers)
        for number in range(len(self._places) + 1, workers + 1):
            self._places[number] = Place()
            if self._begun:
                actions.append(self._roster.fill(number, now))
        for number in range(len(self._places), workers, -1):
            place = self._places.pop(number)
            names = [name for name in (place.worker, place.successor) if name is not None]
            living = [name for name in names if not self._workers[name].told]
            actions += [self._roster.tell(name, Urgency.GRACEFUL, now) for name in living]
        return actions

    def _stop(self, urgency: Urgency, now: float) -> list[Action]:
        if urgency <= self.urgency:
            return []
        actions: list[Action] = [] if self.urgency else [StopBegins()]
        actions += self._renewal.stop(Failure(ExitCode.FAILED, "the server is stopping"))
        self.urgency = urgency
        for place in self._places.values():
            place.retry_at = None
        return actions + [
            self._roster.tell(name, urgency, now)
            for name, worker in self._workers.items()
            if worker.told < urgency
        ]

    def _time_passed(self, now: float) -> list[Action]:
        actions: list[Action] = []
        for name, worker in list(self._workers.items()):
            if worker.deadline is not None and worker.deadline <= now:
                actions += self._overdue(name, now)
        for number, place in self._places.items():
            if place.retry_at is not None and place.retry_at <= now:
                actions.append(self._roster.fill(number, now))
        return actions

    def _overdue(self, name: int, now: float) -> list[Action]:
        """Kills a worker that boots, or stops, for too long; gives up one that survives that."""
        worker = self._workers[name]
        if worker.told < Urgency.NOW:
            if worker.stage is Stage.BOOTING and worker.failure is None:
                took = f"took more than {self.policy.boot_timeout:g} s to boot"
                worker.failure = Failure(ExitCode.BOOT_FAILED, f"worker {worker.number} {took}")
            return [self._roster.tell(name, Urgency.NOW, now)]
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
