"""What is sent to which worker, and when one is started, ended or given up. Pure.

Rule 1: everything that decides over a worker or a batch is in this file and in `desk`. They know no
clock, no process and no channel: `actions = schedule.handle(event, now)`, and the dispatcher does
what the actions say. They decide over batches, never over single tasks, so being pure costs a task
nothing.

Guarantees, whatever the order of events and however the clock moves:

* a task that was sent is done, lost, or given back, exactly once;
* a task is lost only when its worker died while it ran, or several died of reading it, alone; those
  behind it are given back, unseen;
* a worker has at most `WINDOW` tasks; it has a second batch only when the first one is short;
* what waits behind a task that takes longer than expected is taken back and given to others;
* after the stop no worker is started, and `Over` comes exactly once, when all are gone.
"""

from __future__ import annotations

from typing import Any, Final

from .actions import Action, GiveUp, Kill, Look, Lose, Over, Recall, Retire, Send, Start
from .desk import Desk, Queue, Stage
from .events import (
    Answered,
    Begin,
    CloseAsked,
    Died,
    Event,
    Full,
    Looked,
    Ready,
    Skipped,
    StopAsked,
    TimePassed,
    Unwanted,
)
from .pace import MOST, TARGET, WINDOW, Pace

OVERDUE: Final = 5 * TARGET  # seconds: after that, what waits behind a running task is taken back
READING: Final = 60.0  # seconds more for a task with a limit to be read: modules are imported then
CONFIRM: Final = 0.002  # seconds: a store is seen by every CPU after nanoseconds
BOOT_TRIES: Final = 3  # initializers in a row that fail
BOOT_DEATHS: Final = 12  # workers in a row that die before they are ready, of whatever


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
            case Answered(worker, count, seconds, size):
                self._answered(self.desks[worker], count, seconds, size)
            case Looked():
                self._looked(event, now, actions)
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
        return self.desks[worker].done(count)

    def sent(self, worker: int, count: int, size: int) -> None:
        """Takes note that only so many tasks of the newest batch were sent, of so many bytes.

        Args:
            worker: To whom.
            count: How many tasks; the others are the next in the queue.
            size: How many bytes; 0: few.
        """
        desk = self.desks[worker]
        self.pace.weigh(desk.messages[-1], count, size)
        rest = desk.cut(count)
        if rest is not None:
            self.queue.give_back(rest)

    def lend(self, worker: int) -> bool:
        """Gives an idle worker into the hands of somebody else; False when it is not idle."""
        desk = self.desks[worker]
        if (
            not self._has_room(desk)
            or desk.messages
            or desk.batches
            or self._closing
            or self._tasks_per_worker is not None
        ):
            return False
        desk.lent = True
        return True

    def take_back(self, worker: int, number: int, lot: Any) -> None:
        """Has a worker that was lent.

        Args:
            worker: Which.
            number: The number of its next task.
            lot: A call that was sent to it under that number; or None.
        """
        desk = self.desks[worker]
        desk.lent = False
        desk.next = number
        if lot is not None:
            desk.put(lot)

    def next_look(self) -> float | None:
        """Gives when `TimePassed` is due; None: not before something else happens."""
        times = [desk.look_at for desk in self.desks.values() if desk.look_at is not None]
        return min(times, default=None)

    @property
    def wants_tasks(self) -> bool:
        """Whether a task that comes into the queue could be sent at once."""
        return any(self._has_room(desk) for desk in self.desks.values())

    def _answered(self, desk: Desk, count: int, seconds: float, size: int) -> None:
        key = desk.messages.popleft()
        self.pace.learn(key, count, seconds)
        self.pace.weigh(key, count, size)
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

    def _looked(self, look: Looked, now: float, actions: list[Action]) -> None:
        desk, begun = self.desks[look.worker], look.begun
        limit: float | None = desk.batches[0].lot.timeout if desk.batches else None
        if limit is not None and self._has_overrun(desk, look, limit, now):
            self._kill(look.worker, actions, overtime=True)
            return
        if desk.confirming:
            desk.confirming = False
            desk.stuck = bool(desk.messages)
            self._give_back(desk.take_back(begun))
        elif desk.waiting > 1 and desk.recalled < desk.next and desk.hangs(begun):
            desk.recalled = desk.next
            desk.confirming = True
            actions.append(Recall(look.worker, desk.next))
        if desk.confirming:
            desk.look_at = now + CONFIRM
        elif desk.waiting > 1 and desk.recalled < desk.next:
            desk.look_at = now + OVERDUE
        elif limit is not None:
            desk.look_at = now + max(limit - look.running, CONFIRM)
        else:
            desk.look_at = None
        desk.begun = begun

    def _has_overrun(self, desk: Desk, look: Looked, limit: float, now: float) -> bool:
        """Whether a worker takes longer than it may: to run its task, or to begin it."""
        first = desk.batches[0].first
        if look.begun > first:
            return look.running >= limit
        if desk.unread[0] != first:
            desk.unread = (first, now)
        return now - desk.unread[1] >= limit + (0 if look.stopped else READING)

    def _died(self, worker: int, begun: int, actions: list[Action], *, told: bool) -> None:
        desk = self.desks.pop(worker)
        lost, unbegun = desk.split(begun)
        actions.extend(Lose(worker, lot) for lot in lost)
        was_meant = desk.stage is Stage.ENDING and not desk.overtime
        if unbegun and not lost and not was_meant and unbegun[0].doubt():
            # nothing of it was begun, and it is not the first worker that dies at that
            actions.append(Lose(worker, unbegun.pop(0), begun=False))
        self._give_back(unbegun)
        if desk.stage is Stage.BOOTING:
            self.failed_boots += BOOT_DEATHS // BOOT_TRIES if told else 1
            if self.failed_boots >= BOOT_DEATHS and not self._stopped:
                self._stopped = self._closing = True
                actions.append(GiveUp(worker))
                for other in self.desks:
                    self._kill(other, actions)

    def _give_back(self, lots: list[Any]) -> None:
        for lot in reversed(lots):
            self.queue.give_back(lot)

    def _kill(self, worker: int, actions: list[Action], *, overtime: bool = False) -> None:
        desk = self.desks[worker]
        desk.overtime = desk.overtime or overtime
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
        if desk.stage is not Stage.SERVING or desk.confirming or desk.stuck or desk.lent:
            return False
        if not desk.messages:
            return True
        # a second batch bridges the gap between two, which is nothing beside a long task
        return len(desk.messages) == 1 and self.pace.is_short(desk.messages[0])

    def _assign(self, now: float, actions: list[Action]) -> None:
        if self._stopped or not len(self.queue):
            return
        # a first batch for everybody before anybody has a second one; one batch at a time for each,
        # as it may not be sent whole
        served: set[int] = set()
        for rounds in (0, 1):
            for worker, desk in self.desks.items():
                if len(desk.messages) == rounds and self._has_room(desk) and worker not in served:
                    served.add(worker)
                    self._send(worker, desk, now, actions)

    def _send(self, worker: int, desk: Desk, now: float, actions: list[Action]) -> None:
        # near the end batches shrink, so that all end together
        fair = -(-len(self.queue) // (2 * self.workers))
        most = max(1, min(WINDOW - desk.waiting, MOST))
        if self._tasks_per_worker is not None:
            most = min(most, self._tasks_per_worker - desk.next)
        lot = self.queue.take(most, fair, self.pace)
        if lot is None:
            return
        actions.append(Send(worker, desk.put(lot)))
        if desk.look_at is None and (desk.waiting > 1):
            desk.look_at = now + OVERDUE
        if lot.timeout is not None:
            due = now + lot.timeout
            desk.look_at = due if desk.look_at is None else min(due, desk.look_at)
        if self._tasks_per_worker is not None and desk.next >= self._tasks_per_worker:
            self._retire(worker, actions)

    def _staff(self, actions: list[Action]) -> None:
        # what was lost may be queued again: `TimePassed` comes after that
        lost = any(isinstance(action, Lose) for action in actions)
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
        if self._closing and not self.desks and not lost and not self._over:
            self._over = True
            actions.append(Over())

    def _stop_booting(self, worker: int, actions: list[Action]) -> None:
        self.desks[worker].stage = Stage.ENDING
        actions.append(Kill(worker))

    def _has_work(self) -> bool:
        return any(desk.batches or desk.lent for desk in self.desks.values())

    def _backlog(self) -> int:
        return len(self.queue) + sum(len(desk.batches) + desk.lent for desk in self.desks.values())
