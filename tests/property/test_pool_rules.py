"""The pool's rules under random orders of submit, finish, death, timeout, cancel and close."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from manycore.pool import actions, events
from manycore.pool.desk import Batch, Stage
from manycore.pool.pace import Pace
from manycore.pool.rules import Schedule

HARD = 5.0  # seconds: the time limit of those that have one


@dataclass(frozen=True)
class FakeLot:
    """Some numbered tasks."""

    tasks: tuple[int, ...]
    timeout: float | None
    doubts: Counter[int]

    @property
    def key(self) -> str:
        return "function"

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, part: slice) -> FakeLot:
        return FakeLot(self.tasks[part], self.timeout, self.doubts)

    def doubt(self) -> bool:
        self.doubts.update(self.tasks)
        return len(self) == 1 and self.doubts[self.tasks[0]] >= 3


class FakeQueue:
    """Tasks that wait: pairs of a number and a limit."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[int, float | None]] = deque()
        self.doubts: Counter[int] = Counter()  # how many workers died before they had begun it

    def __len__(self) -> int:
        return len(self.waiting)

    def take(self, most: int, fair: int, pace: Pace) -> FakeLot | None:
        del pace
        if not self.waiting:
            return None
        limit = self.waiting[0][1]
        taken: list[int] = []
        most = 1 if self.doubts[self.waiting[0][0]] else min(most, fair, 5)
        while self.waiting and len(taken) < most and self.waiting[0][1] == limit:
            if taken and self.doubts[self.waiting[0][0]]:
                break
            taken.append(self.waiting.popleft()[0])
        return FakeLot(tuple(taken), limit, self.doubts)

    def give_back(self, lot: FakeLot) -> None:
        self.waiting.extendleft((task, lot.timeout) for task in reversed(lot.tasks))


class FakeWorker:
    """What a worker would do, one small step at a time."""

    def __init__(self) -> None:
        self.messages: deque[Batch] = deque()
        self.begun = self.done = self.recalled = 0
        self.running_since: float | None = None
        self.count = 0
        self.killed = self.retired = self.ready = False
        self.collected = 0
        self.held = False  # by a signal
        self.lent = False
        self.called: int | None = None  # a task that somebody else has given it


class PoolMachine(RuleBasedStateMachine):
    """A pool whose workers are numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FakeQueue()
        self.schedule = Schedule(2, self.queue)
        self.workers: dict[int, FakeWorker] = {}
        self.now = 0.0
        self.next_task = 0
        self.outcomes: dict[int, list[str]] = {}
        self.started: dict[int, int] = {}
        self.closed = self.stopped = False
        self.too_much = 0  # tasks that do not fit into a message
        self.again: set[int] = set()  # tasks that are tried again when they are lost
        self.overs = 0
        self.tell(events.Begin())

    # The driver.

    def tell(self, event: events.Event) -> None:
        pending = deque([event])
        while pending:
            for action in self.schedule.handle(pending.popleft(), self.now):
                answer = self.do(action)
                if answer is not None:
                    pending.append(answer)
        if self.schedule._stopped:
            self.queue.waiting.clear()

    def do(self, action: actions.Action) -> events.Event | None:  # noqa: C901  # a table
        match action:
            case actions.Start(worker):
                assert worker not in self.workers
                assert not self.stopped
                self.workers[worker] = FakeWorker()
            case actions.Send(worker, batch):
                assert self.workers[worker].ready
                assert not self.workers[worker].retired
                assert not self.workers[worker].lent
                kept = max(1, len(batch.lot) - self.too_much)
                self.workers[worker].messages.append(Batch(batch.first, batch.lot[:kept]))
                self.schedule.sent(worker, kept, 0)
            case actions.Look(worker):
                return self.look(worker)
            case actions.Recall(worker, below):
                self.workers[worker].recalled = below
            case actions.Lose(_, lot, begun):
                assert len(lot) == 1
                task = lot.tasks[0]
                assert begun == (task in self.started)
                assert begun or self.queue.doubts[task] == 3
                if task in self.again and not self.schedule._stopped:
                    self.again.remove(task)
                    self.started.pop(task, None)
                    self.queue.doubts.pop(task, None)
                    self.queue.waiting.appendleft((task, lot.timeout))
                else:
                    self.outcomes.setdefault(task, []).append("lost")
            case actions.Retire(worker):
                assert not self.workers[worker].lent
                self.workers[worker].retired = True
            case actions.Kill(worker):
                self.workers[worker].killed = True
            case actions.GiveUp():
                self.queue.waiting.clear()
            case actions.Over():
                self.overs += 1
        return None

    def look(self, worker: int) -> events.Event:
        self.collect(worker)
        fake = self.workers[worker]
        running = 0.0 if fake.running_since is None else self.now - fake.running_since
        return events.Looked(worker, fake.begun, running, fake.held)

    def collect(self, worker: int) -> None:
        for lot in self.schedule.done(worker, self.workers[worker].done):
            for task in lot.tasks:
                self.outcomes.setdefault(task, []).append("done")

    def alive(self, index: int) -> tuple[int, FakeWorker]:
        number = sorted(self.workers)[index % len(self.workers)]
        return number, self.workers[number]

    # What may happen.

    @precondition(lambda self: not self.closed)
    @rule(count=st.integers(1, 12), limited=st.booleans(), retried=st.booleans())
    def submit(self, count: int, limited: bool, retried: bool) -> None:
        for _ in range(count):
            if retried:
                self.again.add(self.next_task)
            self.queue.waiting.append((self.next_task, HARD if limited else None))
            self.next_task += 1
        self.tell(events.TimePassed())

    @precondition(lambda self: self.workers)
    @rule(index=st.integers(0, 9))
    def step(self, index: int) -> None:
        """A worker begins a task, ends one, or says that it is through with a message."""
        number, fake = self.alive(index)
        if fake.killed or fake.lent or fake.held:
            return
        if not fake.ready:
            fake.ready = True
            self.tell(events.Ready(number))
        elif fake.begun > fake.done:
            fake.done = fake.begun
            fake.running_since = None
            fake.count += 1
        elif fake.messages:
            self.advance(number, fake)
        elif fake.retired:
            self.die(index)

    def advance(self, number: int, fake: FakeWorker) -> None:
        batch = fake.messages[0]
        fake.begun = fake.done = max(fake.done, batch.first)
        if fake.done >= batch.end:
            self.answer(number, fake)
            return
        fake.begun += 1
        if fake.recalled >= fake.begun:
            skipped = fake.begun - 1
            self.collect(number)
            self.tell(events.Skipped(number, skipped))
            fake.done = fake.begun = skipped  # the count says begun, the task was not
            self.answer(number, fake)
            return
        task = batch.lot.tasks[fake.begun - 1 - batch.first]
        self.started[task] = self.started.get(task, 0) + 1
        fake.running_since = self.now

    def answer(self, number: int, fake: FakeWorker) -> None:
        fake.messages.popleft()
        self.collect(number)
        count, fake.count = fake.count, 0
        self.tell(events.Answered(number, count, count * 0.0001))

    @precondition(lambda self: self.workers)
    @rule(index=st.integers(0, 9))
    def die(self, index: int) -> None:
        number, fake = self.alive(index)
        self.take_back(number, fake)
        self.collect(number)
        del self.workers[number]
        self.tell(events.Died(number, fake.begun))

    @precondition(lambda self: self.workers)
    @rule(index=st.integers(0, 9))
    def hold(self, index: int) -> None:
        """A signal stops a worker."""
        _, fake = self.alive(index)
        fake.held = not fake.lent

    @precondition(lambda self: self.workers)
    @rule(index=st.integers(0, 9))
    def lend(self, index: int) -> None:
        """Somebody else gives tasks to an idle worker."""
        number, fake = self.alive(index)
        if fake.ready and not fake.killed and self.schedule.lend(number):
            assert not fake.messages
            assert fake.begun == fake.done
            fake.lent = True
            fake.begun = fake.done = self.schedule.desks[number].next

    @precondition(lambda self: any(fake.lent for fake in self.workers.values()))
    @rule(index=st.integers(0, 9), begin=st.booleans(), end=st.booleans())
    def call(self, index: int, begin: bool, end: bool) -> None:
        """A call, which may be under way when the worker is taken back."""
        _, fake = self.alive(index)
        if not fake.lent or fake.killed:
            return
        if fake.called is None:
            fake.called, self.next_task = self.next_task, self.next_task + 1
        if begin and fake.begun == fake.done:
            fake.begun += 1
            self.started[fake.called] = self.started.get(fake.called, 0) + 1
        if end and fake.begun > fake.done:
            fake.done = fake.begun
            self.outcomes.setdefault(fake.called, []).append("done")
            fake.called = None

    @precondition(lambda self: any(fake.lent for fake in self.workers.values()))
    @rule(index=st.integers(0, 9))
    def end_loan(self, index: int) -> None:
        number, fake = self.alive(index)
        self.take_back(number, fake)
        self.tell(events.TimePassed())

    def take_back(self, number: int, fake: FakeWorker) -> None:
        if not fake.lent:
            return
        fake.lent = False
        if fake.called is None:
            self.schedule.take_back(number, fake.done, None)
            return
        lot = FakeLot((fake.called,), None, self.queue.doubts)
        self.schedule.take_back(number, fake.done, lot)
        fake.messages.append(Batch(fake.done, lot))
        fake.called = None

    @rule(count=st.sampled_from([0, 0, 1, 3]))
    def grow(self, count: int) -> None:
        """From now on so many tasks of a batch do not fit."""
        self.too_much = count

    @precondition(lambda self: self.queue.waiting and not self.stopped)
    @rule()
    def cancel(self) -> None:
        """One that waits is cancelled."""
        task, _ = self.queue.waiting.pop()
        self.outcomes.setdefault(task, []).append("cancelled")

    @rule(seconds=st.sampled_from([0.001, 0.003, 0.02, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.tell(events.TimePassed())

    @precondition(lambda self: self.workers and not self.stopped)
    @rule(index=st.integers(0, 9), full=st.booleans())
    def replace(self, index: int, full: bool) -> None:
        number, fake = self.alive(index)
        if full and fake.lent:  # nobody is lent where memory is limited, so nobody looks
            return
        self.tell(events.Full(number) if full else events.Unwanted(number))

    @rule()
    def close(self) -> None:
        self.closed = True
        self.tell(events.CloseAsked())

    @rule()
    def stop(self) -> None:
        self.closed = self.stopped = True
        self.queue.waiting.clear()
        self.tell(events.StopAsked())

    # What always holds.

    @invariant()
    def no_task_ends_twice(self) -> None:
        assert all(len(found) == 1 for found in self.outcomes.values()), self.outcomes

    @invariant()
    def no_task_runs_twice(self) -> None:
        assert all(count == 1 for count in self.started.values()), self.started

    @invariant()
    def no_task_disappears(self) -> None:
        if self.schedule._stopped:
            return
        waiting = [task for task, _ in self.queue.waiting]
        held = [
            task
            for desk in self.schedule.desks.values()
            for batch in desk.batches
            for task in batch.lot.tasks
        ] + [fake.called for fake in self.workers.values() if fake.called is not None]
        everywhere = waiting + held + list(self.outcomes)
        assert sorted(everywhere) == list(range(self.next_task))

    @invariant()
    def over_comes_once_when_all_are_gone(self) -> None:
        assert self.overs <= 1
        if self.overs:
            assert not self.workers
            assert self.closed or self.schedule._stopped

    @invariant()
    def staff_is_complete(self) -> None:
        assert len(self.workers) <= 4
        if not self.closed and not self.schedule._stopped:
            staying = [d for d in self.schedule.desks.values() if d.stage is not Stage.RETIRING]
            # one that was told to end and is killed before it does so is one more for a moment
            assert len(staying) >= 2 or len(self.schedule.desks) == 4

    def teardown(self) -> None:
        """Whatever happened, from here on all comes to an end by itself."""
        self.close()
        for _ in range(2000):
            if self.overs:
                break
            self.now += 0.003
            self.tell(events.TimePassed())
            for index in range(len(self.workers)):
                if index < len(self.workers):
                    self.alive(index)
                    self.take_back(*self.alive(index))
                    self.alive(index)[1].held = False
                    if self.alive(index)[1].killed:
                        self.die(index)
                    else:
                        self.step(index)
        assert self.overs == 1, self.schedule.desks
        if not self.schedule._stopped:
            assert sorted(self.outcomes) == list(range(self.next_task))


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
