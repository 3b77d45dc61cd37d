"""What is sent to which worker, and when one is started, ended or given up. Pure.

Rule 1: everything that decides over a worker or a batch is in this file. It knows no clock, no
process and no channel: `actions = schedule.handle(event, now)`, and the dispatcher does what the
actions say. It decides over batches, never over single tasks, so being pure costs a task nothing.

A worker numbers the tasks that it is sent, from 0. What it has done and begun are two counts that
the dispatcher reads from memory that both share, so they are known after its death too.

Guarantees, whatever the order of events and however the clock moves:

* a task that was sent is done, lost, or given back, exactly once;
* a task is lost only when its worker died while it ran; those behind it are given back, unseen;
* a worker has at most `WINDOW` tasks; it has a second batch only when the first one is short;
* what waits behind a task that takes longer than expected is taken back and given to others;
* after the stop no worker is started, and `Over` comes exactly once, when all are gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final, Protocol, TypeAlias

from .pace import MOST, TARGET, Pace

WINDOW: Final = 4 * MOST  # tasks that a worker may have; the shared memory has as many slots
OVERDUE: Final = 5 * TARGET  # seconds: after that, what waits behind a running task is taken back
CONFIRM: Final = 0.002  # seconds: a store is seen by every CPU after nanoseconds
BOOT_TRIES: Final = 3  # initializers in a row that fail
BOOT_DEATHS: Final = 12  # workers in a row that die before they are ready, of whatever


class Lot(Protocol):
    """Tasks that travel together."""

    @property
    def key(self) -> Hashable:
        """What their time is remembered by."""

    @property
    def timeout(self) -> float | None:
        """Seconds after which a task of it is ended, its grace included."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice) -> Any: ...


class Queue(Protocol):
    """Tasks that wait for a worker."""

    def __len__(self) -> int: ...

    def take(self, most: int, pace: Pace) -> Any:
        """Gives tasks for a batch, at most so many; None when there are none."""

    def give_back(self, lot: Any) -> None:
        """Takes tasks that were not begun; they are the next."""


class Stage(Enum):
    """Where a worker stands."""

    BOOTING = auto()
    SERVING = auto()
    RETIRING = auto()  #: it gets nothing more, finishes what it has, and ends
    ENDING = auto()  #: it was killed


@dataclass(slots=True)
class Batch:
    """Tasks that a worker has and that are not known to be done."""

    first: int
    lot: Any

    @property
    def end(self) -> int:
        """The number behind its last task."""
        return self.first + len(self.lot)


@dataclass(slots=True)
class Desk:
    """What is known of a worker."""

    stage: Stage = Stage.BOOTING
    batches: deque[Batch] = field(default_factory=deque)
    messages: deque[Hashable] = field(default_factory=deque)  #: not answered yet: their keys
    next: int = 0  #: the number of the next task that it is sent
    recalled: int = 0  #: what is below and was not begun must not be begun
    look_at: float | None = None  #: when its counts are read next
    confirming: bool = False
    begun: int = -1  #: what it had begun when it was looked at
    stuck: bool = False  #: its running task takes longer than was thought

    @property
    def waiting(self) -> int:
        """How many tasks it has."""
        return sum(len(batch.lot) for batch in self.batches)


# What happened.


@dataclass(frozen=True, slots=True)
class Begin:
    """The dispatcher is ready to start workers."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker has run its initializer."""

    worker: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A worker is through with the oldest message; so many of its tasks took so long."""

    worker: int
    count: int
    seconds: float


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
    """

    worker: int
    begun: int
    running: float


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


# What is to be done.


@dataclass(frozen=True, slots=True)
class Start:
    """Start a worker under this number, which was never used."""

    worker: int


@dataclass(frozen=True, slots=True)
class Send:
    """Send tasks to a worker."""

    worker: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class Look:
    """Collect what a worker has done, and say how far it is."""

    worker: int


@dataclass(frozen=True, slots=True)
class Recall:
    """Tell a worker not to begin tasks below this number."""

    worker: int
    below: int


@dataclass(frozen=True, slots=True)
class Lose:
    """A task ended with its worker."""

    worker: int
    lot: Any


@dataclass(frozen=True, slots=True)
class Retire:
    """Tell a worker to end after what it has."""

    worker: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End a worker, and all that it started."""

    worker: int
    overtime: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No worker can begin: fail what is queued with what the last one said."""

    worker: int


@dataclass(frozen=True, slots=True)
class Over:
    """All workers are gone, and no more will come."""


Action: TypeAlias = Start | Send | Look | Recall | Lose | Retire | Kill | GiveUp | Over


class Schedule:
    """Which worker has what.

    Args:
        workers: How many there shall be.
        queue: Where tasks wait; anybody may add to it at any time.
        tasks_per_worker: After so many tasks a worker is replaced; None: never.
    """

    def __init__(self, workers: int, queue: Queue, tasks_per_worker: int | None = None) -> None:
        self.workers = workers
        self.queue = queue
        self.pace = Pace()
        self.desks: dict[int, Desk] = {}
        self.failed_boots = 0
        self._tasks_per_worker = tasks_per_worker
        self._born = 0
        self._closing = False
        self._stopped = False
        self._over = False

    def handle(self, event: Event, now: float) -> list[Action]:  # noqa: C901  # a table
        """Takes an event in; gives what is to be done, in order."""
        actions: list[Action] = []
        match event:
            case Begin() | TimePassed():
                pass
            case Answered(worker, count, seconds):
                self._answered(self.desks[worker], count, seconds)
            case Looked(worker, begun, running):
                self._looked(worker, begun, running, now, actions)
            case Ready(worker):
                self.failed_boots = 0
                if self.desks[worker].stage is Stage.BOOTING:
                    self.desks[worker].stage = Stage.SERVING
            case Skipped(worker, number):
                self._skipped(self.desks[worker], number)
            case Died(worker, begun, told):
                self._died(worker, begun, actions, told=told)
            case Full(worker):
                self._retire(worker, actions)
            case Unwanted(worker):
                self._kill(worker, actions)
            case CloseAsked():
                self._closing = True
            case StopAsked():
                self._stopped = self._closing = True
                for worker in self.desks:
                    self._kill(worker, actions)
        self._look(now, actions)
        self._assign(now, actions)
        self._staff(actions)
        return actions

    def done(self, worker: int, count: int) -> list[Any]:
        """Gives the tasks that a worker has done, up to a count of its tasks, in order."""
        batches = self.desks[worker].batches
        finished = []
        while batches and batches[0].end <= count:
            finished.append(batches.popleft().lot)
        if batches and batches[0].first < count:
            batch = batches[0]
            many = count - batch.first
            finished.append(batch.lot[:many])
            batch.lot = batch.lot[many:]
            batch.first = count
        return finished

    def next_look(self) -> float | None:
        """Gives when `TimePassed` is due; None: not before something else happens."""
        times = [desk.look_at for desk in self.desks.values() if desk.look_at is not None]
        return min(times, default=None)

    @property
    def wants_tasks(self) -> bool:
        """Whether a task that comes into the queue could be sent at once."""
        return any(self._has_room(desk) for desk in self.desks.values())

    def _answered(self, desk: Desk, count: int, seconds: float) -> None:
        self.pace.learn(desk.messages.popleft(), count, seconds)
        desk.stuck = False
        if not desk.messages and not desk.confirming:
            desk.look_at = None

    def _skipped(self, desk: Desk, number: int) -> None:
        """The one task of which it was not known whether it had begun."""
        if desk.batches and desk.batches[0].first == number:
            self.queue.give_back(desk.batches.popleft().lot)

    def _look(self, now: float, actions: list[Action]) -> None:
        for worker, desk in self.desks.items():
            if desk.look_at is not None and now >= desk.look_at:
                desk.look_at = None
                actions.append(Look(worker))

    def _looked(
        self, worker: int, begun: int, running: float, now: float, actions: list[Action]
    ) -> None:
        desk = self.desks[worker]
        limit = desk.batches[0].lot.timeout if desk.batches else None
        if limit is not None and running >= limit:
            self._kill(worker, actions, overtime=True)
            return
        if desk.confirming:
            desk.confirming = False
            desk.stuck = bool(desk.messages)
            self._take_back(desk, begun)
        elif desk.waiting > 1 and desk.recalled < desk.next and self._hangs(desk, begun):
            desk.recalled = desk.next
            desk.confirming = True
            actions.append(Recall(worker, desk.next))
        if desk.confirming:
            desk.look_at = now + CONFIRM
        elif desk.waiting > 1 and desk.recalled < desk.next:
            desk.look_at = now + OVERDUE
        elif limit is not None:
            desk.look_at = now + max(limit - running, CONFIRM)
        else:
            desk.look_at = None
        desk.begun = begun

    def _hangs(self, desk: Desk, begun: int) -> bool:
        """Whether a worker runs the task that it ran at the last look.

        One that has begun none of what it has is still reading it, importing perhaps. So would the
        next one: nothing is taken from it.
        """
        return begun == desk.begun and begun > desk.batches[0].first

    def _take_back(self, desk: Desk, begun: int) -> None:
        """Gives others what a worker was told not to begin, and has not."""
        later = [batch for batch in desk.batches if batch.first >= desk.recalled]
        earlier = [batch for batch in desk.batches if batch.first < desk.recalled]
        desk.batches = deque()
        unbegun = []
        for batch in earlier:
            kept = max(0, min(begun - batch.first, len(batch.lot)))
            if kept:
                desk.batches.append(Batch(batch.first, batch.lot[:kept]))
            if kept < len(batch.lot):
                unbegun.append(batch.lot[kept:])
        desk.batches.extend(later)
        for lot in reversed(unbegun):
            self.queue.give_back(lot)

    def _died(self, worker: int, begun: int, actions: list[Action], *, told: bool) -> None:
        desk = self.desks.pop(worker)
        unbegun = []
        for batch in desk.batches:
            if batch.first < begun:
                actions.append(Lose(worker, batch.lot[:1]))
                if len(batch.lot) > 1:
                    unbegun.append(batch.lot[1:])
            else:
                unbegun.append(batch.lot)
        for lot in reversed(unbegun):
            self.queue.give_back(lot)
        if desk.stage is Stage.BOOTING:
            self.failed_boots += BOOT_DEATHS // BOOT_TRIES if told else 1
            if self.failed_boots >= BOOT_DEATHS and not self._stopped:
                self._stopped = self._closing = True
                actions.append(GiveUp(worker))
                for other in self.desks:
                    self._kill(other, actions)

    def _kill(self, worker: int, actions: list[Action], *, overtime: bool = False) -> None:
        desk = self.desks[worker]
        if desk.stage is not Stage.ENDING:
            desk.look_at = None
            if desk.stage is not Stage.BOOTING or self._stopped:
                desk.stage = Stage.ENDING
            actions.append(Kill(worker, overtime))

    def _retire(self, worker: int, actions: list[Action]) -> None:
        desk = self.desks[worker]
        if desk.stage is Stage.SERVING:
            desk.stage = Stage.RETIRING
            actions.append(Retire(worker))

    def _has_room(self, desk: Desk) -> bool:
        if desk.stage is not Stage.SERVING or desk.confirming or desk.stuck:
            return False
        if not desk.messages:
            return True
        # a second batch bridges the gap between two, which is nothing beside a long task
        return len(desk.messages) == 1 and self.pace.is_short(desk.messages[0])

    def _assign(self, now: float, actions: list[Action]) -> None:
        if self._stopped or not len(self.queue):
            return
        # a first batch for everybody before anybody has a second one
        for rounds in (0, 1):
            for worker, desk in self.desks.items():
                if len(desk.messages) == rounds and self._has_room(desk):
                    self._send(worker, desk, now, actions)

    def _send(self, worker: int, desk: Desk, now: float, actions: list[Action]) -> None:
        # near the end batches shrink, so that all end together
        fair = -(-len(self.queue) // (2 * self.workers))
        most = max(1, min(fair, WINDOW - desk.waiting, MOST))
        if self._tasks_per_worker is not None:
            most = min(most, self._tasks_per_worker - desk.next)
        lot = self.queue.take(most, self.pace)
        if lot is None:
            return
        batch = Batch(desk.next, lot)
        desk.next += len(lot)
        desk.batches.append(batch)
        desk.messages.append(lot.key)
        actions.append(Send(worker, Batch(batch.first, lot)))
        if desk.look_at is None and (desk.waiting > 1):
            desk.look_at = now + OVERDUE
        if lot.timeout is not None:
            due = now + lot.timeout
            desk.look_at = due if desk.look_at is None else min(due, desk.look_at)
        if self._tasks_per_worker is not None and desk.next >= self._tasks_per_worker:
            self._retire(worker, actions)

    def _staff(self, actions: list[Action]) -> None:
        if self._closing and not len(self.queue):
            for worker, desk in self.desks.items():
                # what one of them has may yet be given back, and then another must be there
                if desk.stage is Stage.BOOTING and not self._has_work():
                    self._stop_booting(worker, actions)
                elif not self._has_work():
                    self._retire(worker, actions)
        needed = self.workers if not self._closing else min(self.workers, self._backlog())
        if not self._stopped:
            active = sum(desk.stage is not Stage.RETIRING for desk in self.desks.values())
            missing = min(needed - active, 2 * self.workers - len(self.desks))
            for _ in range(missing):
                self.desks[self._born] = Desk()
                actions.append(Start(self._born))
                self._born += 1
        if self._closing and not self.desks and not self._over:
            self._over = True
            actions.append(Over())

    def _stop_booting(self, worker: int, actions: list[Action]) -> None:
        self.desks[worker].stage = Stage.ENDING
        actions.append(Kill(worker))

    def _has_work(self) -> bool:
        return any(desk.batches for desk in self.desks.values())

    def _backlog(self) -> int:
        return len(self.queue) + sum(len(desk.batches) for desk in self.desks.values())
