"""The guarantees of the supervision rules, under any order of events and any clock."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from hypothesis import given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from manycore.errors import ExitCode
from manycore.supervise.events import (
    Abandon,
    Action,
    Announce,
    Begin,
    Booted,
    BootFailed,
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
)
from manycore.supervise.roster import ABORT_PATIENCE, STOP_MARGIN, UNKILLABLE_AFTER, Stage
from manycore.supervise.rules import Rules

pure = settings(deadline=None)  # a busy machine may stall any example; pytest's timeout guards

MOST = 4  # workers
SETTLED_WITHIN = 100  # rounds in which workers behave and time passes, from any state

policies = st.builds(
    Policy,
    workers=st.integers(1, MOST),
    graceful_timeout=st.sampled_from([0.0, 0.5, 30.0]),
    boot_timeout=st.sampled_from([0.5, 60.0]),
    young=st.sampled_from([1.0, 10.0]),
    first_pause=st.sampled_from([0.1, 3.0]),
    longest_pause=st.sampled_from([1.0, 30.0]),
    boot_tries=st.integers(1, 4),
    overlap=st.integers(1, 3),
)
stops = st.sampled_from([Urgency.GRACEFUL, Urgency.QUICK, Urgency.NOW])
sizes = st.integers(1, MOST)
failures = st.builds(
    Failure,
    code=st.sampled_from([ExitCode.BOOT_FAILED, ExitCode.TARGET_FAILED]),
    problem=st.sampled_from(["it raised", "no room"]),
)
small_and_large = st.one_of(st.floats(-1.0, 1.0), st.floats(-10_000.0, 10_000.0))


@dataclass
class Worker:
    """A process as the world knows it: it is there from `Spawn` to `Exited`."""

    number: int
    generation: int
    born: float
    reported: bool = False
    failure: Failure | None = None
    ready: bool = False
    retired: bool = False  # it was replaced, or is too many
    let_go: bool = False
    said_spent: bool = False
    told: list[tuple[Urgency, float]] = field(default_factory=list)
    abandoned: bool = False
    relieves: bool = False  # it was started for one that has lived long enough

    def due(self, policy: Policy) -> float | None:
        """When somebody has to look after it."""
        if self.abandoned:
            return None
        if self.told:
            urgency, at = self.told[-1]
            patience = {
                Urgency.GRACEFUL: policy.graceful_timeout + STOP_MARGIN,
                Urgency.QUICK: STOP_MARGIN,
                Urgency.ABORT: ABORT_PATIENCE,
                Urgency.NOW: UNKILLABLE_AFTER,
            }
            return at + patience[urgency]
        return None if self.ready else self.born + policy.boot_timeout

    @property
    def urgency(self) -> Urgency:
        return self.told[-1][0] if self.told else Urgency.NONE

    @property
    def serves(self) -> bool:
        return self.ready and not self.told

    @property
    def stage(self) -> Stage:
        if self.told:
            return Stage.STOPPING
        return Stage.READY if self.ready else Stage.BOOTING


class Supervision(RuleBasedStateMachine):
    """A world of workers around the rules, which believes nothing that they say unchecked."""

    @initialize(
        policy=policies,
        now=st.floats(0.0, 10_000.0),
        patience=st.integers(0, 80),
        settles=st.booleans(),
        obeys=st.booleans(),
        at_once=st.booleans(),
    )
    def start(
        self,
        policy: Policy,
        now: float,
        patience: int,
        settles: bool,
        obeys: bool,
        at_once: bool,
    ) -> None:
        self.policy = policy
        self.subject = Rules(policy)
        self.now = now
        self.patience = patience  # events until somebody may think of a stop
        self.settles, self.obeys = settles, obeys  # what workers do in the end
        self.wanted = policy.workers
        self.alive: dict[int, Worker] = {}
        self.gone: list[int] = []
        self.named = 0  # workers that there ever were
        self.resumes: dict[int, float] = {}  # places that pause, and until when
        self.spent: list[int] = []  # who has lived long enough, and waits to be renewed
        self.spent_again: float | None = None  # until when they wait after a failure
        self.begun = self.announced = self.finished = False
        self.reloading = self.asked = False  # one is under way; another one was asked for
        self.generation = 0
        self.ended: Failure | None = None  # how the last reload went
        self.broken: set[int] = set()  # successors that have just failed
        self.urgency = Urgency.NONE
        self.stopped_by: Event | None = None
        if at_once:
            self.begin()
            self.boot_all()

    # What may happen.

    @precondition(lambda self: not self.begun)
    @rule()
    def begin(self) -> None:
        self.begun = not self.stopped_by
        self.send(Begin())

    @rule()
    def begin_again(self) -> None:
        if self.begun:
            self.send(Begin())

    @precondition(lambda self: self.unreported())
    @rule(data=st.data())
    def boot(self, data: st.DataObject) -> None:
        self.become_ready(data.draw(st.sampled_from(self.unreported())))

    @precondition(lambda self: self.unreported())
    @rule()
    def boot_all(self) -> None:
        for name in self.unreported():
            self.become_ready(name)

    @precondition(lambda self: self.unreported())
    @rule(data=st.data(), failure=failures)
    def fail_to_boot(self, data: st.DataObject, failure: Failure) -> None:
        name = data.draw(st.sampled_from(self.unreported()))
        self.alive[name].reported = True
        self.alive[name].failure = failure
        self.send(BootFailed(name, failure))

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def exit(self, data: st.DataObject) -> None:
        self.end(data.draw(st.sampled_from(sorted(self.alive))))

    @precondition(lambda self: self.unreported())
    @rule(data=st.data())
    def exit_before_it_is_ready(self, data: st.DataObject) -> None:
        self.end(data.draw(st.sampled_from(self.unreported())))

    @precondition(lambda self: self.draining())
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.draining()))
        self.alive[name].let_go = True
        self.send(LetGo(name))

    @precondition(lambda self: self.unspent())
    @rule(data=st.data())
    def live_long_enough(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.unspent()))
        self.alive[name].said_spent = True
        self.spent.append(name)
        self.send(Spent(name))

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def hang(self, data: st.DataObject) -> None:
        self.send(Hung(data.draw(st.sampled_from(sorted(self.alive)))))

    @precondition(lambda self: self.told())
    @rule()
    def obey_all(self) -> None:
        for name in self.told():
            self.end(name)

    @precondition(lambda self: self.gone)
    @rule(data=st.data(), failure=failures)
    def hear_of_the_gone(self, data: st.DataObject, failure: Failure) -> None:
        name = data.draw(st.sampled_from(self.gone))
        self.pass_time()  # what is due is done with any event
        for event in (Booted(name), BootFailed(name, failure), LetGo(name), Exited(name, "ended")):
            assert self.send(event) == [], "it had ended"

    @rule()
    def ask_to_reload(self) -> None:
        self.asked = self.asked or not self.stopped_by
        self.send(ReloadAsked())

    @rule(workers=sizes)
    def ask_to_scale(self, workers: int) -> None:
        if not self.stopped_by:
            self.wanted = workers
            for number in list(self.resumes):
                if number > workers:
                    del self.resumes[number]
            for worker in self.alive.values():
                worker.retired = worker.retired or worker.number > workers
        self.send(ScaleAsked(workers))

    @precondition(lambda self: self.patience <= 0)
    @rule(urgency=st.sampled_from(Urgency))
    def ask_to_stop(self, urgency: Urgency) -> None:
        if not self.finished:
            self.urgency = max(self.urgency, urgency)
        self.send(StopAsked(urgency))

    @precondition(lambda self: self.patience <= 0)
    @rule()
    def interrupt(self) -> None:
        if not self.finished:
            self.urgency = Urgency.NOW if self.urgency >= Urgency.QUICK else Urgency.QUICK
        self.send(Interrupted())

    @rule(seconds=small_and_large)
    def move_the_clock(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def pass_time(self) -> None:
        self.send(TimePassed())
        due = self.next_due()
        assert due is None or due > self.now, "it is due, and nothing was done about it"

    @precondition(lambda self: self.subject.deadline() is not None)
    @rule()
    def wait_for_the_deadline(self) -> None:
        deadline = self.subject.deadline()
        assert deadline is not None
        self.now = max(self.now, deadline)
        self.pass_time()

    # What must hold, always.

    @invariant()
    def wakes_up_when_something_is_due_and_only_then(self) -> None:
        assert self.subject.deadline() == self.next_due()

    @invariant()
    def every_place_has_a_worker_or_a_time_at_which_it_gets_one(self) -> None:
        assert self.subject.workers == self.wanted
        if not self.begun or self.stopped_by:
            return
        assert all(1 <= worker.number <= self.wanted for worker in self.placed().values())
        assert all(1 <= number <= self.wanted for number in self.resumes)
        for number in range(1, self.wanted + 1):
            there = self.in_place(number)
            assert (not there) == (number in self.resumes)
            assert len(there) <= 2, "more than one successor"
            if len(there) == 2:
                first, successor = map(self.alive.__getitem__, there)
                assert first.serves or first.urgency >= Urgency.ABORT, "a successor of nobody"
                assert not successor.ready, "two serve in one place"

    @invariant()
    def all_are_announced_as_soon_as_they_are_ready(self) -> None:
        if self.begun and not self.stopped_by:
            assert self.announced or not self.is_complete()

    @invariant()
    def a_reload_begins_as_soon_as_it_can(self) -> None:
        assert self.subject.generation == self.generation
        assert self.subject.reloading == (self.reloading or self.asked)
        assert not (self.asked and self.announced and not self.reloading)

    @invariant()
    def a_reload_ends_as_soon_as_only_new_code_takes_work(self) -> None:
        if self.reloading:
            there = [worker for worker in self.alive.values() if not worker.abandoned]
            old = [worker for worker in there if worker.generation < self.generation]
            assert not self.is_complete() or any(not worker.let_go for worker in old)

    @invariant()
    def who_has_lived_long_enough_is_renewed_as_soon_as_it_can(self) -> None:
        waits = self.reloading or self.asked or self.spent_again is not None
        if self.announced and not self.stopped_by and not waits and not self.beside():
            serving = {name for name, worker in self.alive.items() if worker.serves}
            assert not serving & set(self.spent)

    @invariant()
    def all_that_live_were_told_of_the_stop(self) -> None:
        assert self.subject.urgency is self.urgency
        assert all(worker.urgency >= self.urgency for worker in self.alive.values())

    @invariant()
    def the_end_comes_when_all_are_gone(self) -> None:
        assert self.finished == (
            self.urgency > Urgency.NONE and all(w.abandoned for w in self.alive.values())
        )

    @invariant()
    def stages_tell_the_truth(self) -> None:
        there = {name: w.stage for name, w in self.alive.items() if not w.abandoned}
        assert self.subject.stages() == there

    def teardown(self) -> None:
        """Once workers behave all comes to rest; and a stop ends, however they take it."""
        if not hasattr(self, "subject"):
            return
        if self.settles and not self.stopped_by:
            self.settle()
        self.ask_to_stop(Urgency.GRACEFUL)
        for _ in range(2 * len(self.alive) + 1):  # each may have to be killed and given up
            if self.finished:
                break
            if self.obeys:
                self.obey_all()
            else:
                assert self.subject.deadline() is not None, "waits for ever"
                self.wait_for_the_deadline()
        assert self.finished
        assert self.subject.deadline() is None
        for name in list(self.alive):  # the kernel lets go of them at last
            self.end(name)
        after: list[Event] = [Begin(), TimePassed(), ReloadAsked(), ScaleAsked(MOST + 1)]
        for event in [*after, StopAsked(Urgency.NOW), Interrupted()]:
            self.send(event)

    def settle(self) -> None:
        """Workers boot and do as they are told, and time passes: all shall be as it was asked."""
        if not self.begun:
            self.begin()
        for _ in range(SETTLED_WITHIN):
            for name, worker in list(self.alive.items()):
                if worker.told or worker.failure:
                    self.end(name)
                elif not worker.reported:
                    self.become_ready(name)
            if self.stopped_by:
                return  # it was hopeless
            if self.next_due() is not None:
                self.wait_for_the_deadline()
            elif all(worker.serves for worker in self.alive.values()):
                break
        assert not self.reloading, "a reload without an end"
        assert not self.asked, "a reload that never begins"
        assert self.announced
        assert Counter(w.number for w in self.alive.values()) == Counter(range(1, self.wanted + 1))
        if self.ended is None:
            assert {worker.generation for worker in self.alive.values()} == {self.generation}

    # The world.

    def unreported(self) -> list[int]:
        return [name for name, worker in self.alive.items() if not worker.reported]

    def unspent(self) -> list[int]:
        return [n for n, w in self.alive.items() if w.ready and not w.said_spent]

    def told(self) -> list[int]:
        return [name for name, worker in self.alive.items() if worker.told]

    def draining(self) -> list[int]:
        return [name for name in self.told() if not self.alive[name].let_go]

    def placed(self) -> dict[int, Worker]:
        return {n: w for n, w in self.alive.items() if not w.retired and not w.abandoned}

    def in_place(self, number: int) -> list[int]:
        """Who has this place: the one that serves, or boots, and then its successor."""
        return [name for name, worker in self.placed().items() if worker.number == number]

    def beside(self) -> int:
        """How many processes there are beyond one in each place: successors, and who drains."""
        processes = [worker for worker in self.alive.values() if not worker.abandoned]
        return len(processes) - len({worker.number for worker in self.placed().values()})

    def is_complete(self) -> bool:
        serving = [worker.number for worker in self.alive.values() if worker.serves]
        return set(serving) == set(range(1, self.wanted + 1))

    def next_due(self) -> float | None:
        times = [worker.due(self.policy) for worker in self.alive.values()]
        times += [*self.resumes.values(), self.spent_again]
        return min((t for t in times if t is not None), default=None)

    def become_ready(self, name: int) -> None:
        worker = self.alive[name]
        worker.reported = True
        worker.ready = not worker.told  # who was told to stop becomes nothing else any more
        there = [] if worker.retired else self.in_place(worker.number)
        if worker.ready and there[1:] == [name] and self.alive[there[0]].told:
            self.alive[there[0]].retired = True  # it hung, and is being ended already
        self.send(Booted(name))

    def end(self, name: int) -> None:
        self.lose(name)
        worker = self.alive.pop(name)
        self.gone.append(name)
        event = Exited(name, "exited with code 1")
        self.send(event)
        if self.stopped_by is event:
            assert not worker.ready, "one that served ends nothing"

    def lose(self, name: int) -> None:
        """Takes note of a new worker that will never be ready: the reload must end of it."""
        worker = self.alive[name]
        if self.stopped_by or worker.abandoned or worker.retired or not self.reloading:
            return
        if worker.relieves:
            return
        if not worker.ready and worker.generation == self.generation:
            self.broken.add(name)
            self.expected = worker.failure

    def begin_reload(self) -> None:
        assert self.asked, "nobody asked for it"
        assert self.announced, "some never were ready"
        assert not self.reloading, "two at a time"
        assert not self.stopped_by
        self.reloading, self.asked = True, False
        self.generation += 1

    def send(self, event: Event) -> list[Action]:
        was_finished = self.finished
        self.patience -= 1
        actions = self.subject.handle(event, self.now)
        note(f"{self.now:g}: {event} -> {actions}")
        assert not (was_finished and actions), "something comes after the end"
        for action in actions:
            assert not self.finished, "something comes after the end"
            self.take(action, event)
        if self.spent_again is not None and self.spent_again <= self.now:
            self.spent_again = None
        if self.subject.generation > self.generation:
            self.begin_reload()
        assert not self.broken, "a new worker failed, and the reload goes on"
        assert not (self.stopped_by and self.reloading), "the stop did not end the reload"
        self.asked = self.asked and not self.stopped_by
        return actions

    def take(self, action: Action, event: Event) -> None:  # noqa: C901  # a table
        match action:
            case Spawn():
                self.spawn(action)
            case Tell(name, urgency):
                self.tell(name, urgency, event)
            case Pause(number, seconds):
                assert not self.in_place(number)
                assert not self.stopped_by
                longest = self.policy.longest_pause
                assert min(self.policy.first_pause, longest) <= seconds <= longest
                self.resumes[number] = self.now + seconds
            case Announce():
                assert not self.announced, "announced twice"
                assert not self.stopped_by
                assert self.is_complete()
                self.announced = True
            case ReloadEnds(generation, failure):
                self.end_reload(generation, failure)
            case StopBegins():
                assert not self.stopped_by, "stops twice"
                if isinstance(event, Exited | TimePassed):  # the latter by giving up a boot
                    serving = any(other.serves for other in self.alive.values())
                    assert not (self.announced and serving), "others serve, and all once did"
                    self.urgency = Urgency.QUICK
                else:
                    assert isinstance(event, StopAsked | Interrupted)
                self.stopped_by = event
                self.resumes.clear()
                self.spent_again = None
            case SuccessorFails(number, _, seconds):
                assert isinstance(event, Exited | TimePassed)
                assert not self.stopped_by
                assert seconds == self.policy.longest_pause
                self.spent += set(self.in_place(number)[:1]) - set(self.spent)
                self.spent_again = self.now + seconds
            case Abandon(name):
                worker = self.alive[name]
                due = worker.due(self.policy)
                assert worker.urgency is Urgency.NOW
                assert due is not None, "abandoned twice"
                assert due <= self.now
                self.lose(name)
                worker.abandoned = True
            case Finish(failure):
                assert self.stopped_by, "ends before a stop"
                assert all(worker.abandoned for worker in self.alive.values())
                assert (failure is not None) == isinstance(self.stopped_by, Exited | TimePassed)
                self.finished = True

    def spawn(self, order: Spawn) -> None:
        assert self.begun, "started before the driver is ready"
        assert not self.stopped_by, "started after the stop"
        assert order.worker > self.named, "a name that was somebody's"
        assert 1 <= order.number <= self.wanted, "no such place"
        if order.generation > self.generation:
            self.begin_reload()
        assert order.generation == self.generation
        there = self.in_place(order.number)
        assert len(there) <= 1, "a second successor"
        self.named = order.worker
        new = self.alive[order.worker] = Worker(order.number, order.generation, self.now)
        if there and not self.reloading:
            assert there[0] in self.spent, "renewed, and nobody asked"
            assert not self.asked, "a reload comes first"
            assert self.spent_again is None or self.spent_again <= self.now, "tried too early"
            assert self.alive[there[0]].serves
            assert self.beside() == 1, "more than one is renewed"
            self.spent.remove(there[0])
            new.relieves = True
        elif there:
            assert not self.broken, "the reload had failed"
            assert self.alive[there[0]].serves
            assert self.alive[there[0]].generation < order.generation, "renewed twice"
            processes = [worker for worker in self.alive.values() if not worker.abandoned]
            assert len(processes) - self.wanted <= self.policy.overlap, "too many at a time"
            oldest = min(worker.generation for worker in self.placed().values())
            assert all(w.generation >= oldest for w in processes), "a third generation"
        else:
            assert self.resumes.pop(order.number, self.now) <= self.now, "started before its time"

    def tell(self, name: int, urgency: Urgency, event: Event) -> None:
        worker = self.alive[name]
        assert not worker.abandoned
        assert urgency > worker.urgency, "told the same twice"
        if self.stopped_by:
            due = worker.due(self.policy)
            overdue = due is not None and due <= self.now
            hangs = urgency is Urgency.ABORT and event == Hung(name)
            assert hangs or urgency is self.urgency or (urgency is Urgency.NOW and overdue)
        elif urgency is Urgency.ABORT:
            assert event == Hung(name)
            assert worker.ready or worker.told, "one that boots has another deadline"
        elif urgency is Urgency.NOW:
            due = worker.due(self.policy)
            assert isinstance(event, TimePassed)
            assert due is not None, "it serves"
            assert due <= self.now, "killed before its time"
        else:
            assert urgency is Urgency.GRACEFUL
            if isinstance(event, Booted):
                assert self.in_place(worker.number) == [name, event.worker]
                assert self.alive[event.worker].ready, "replaced by one that is not ready"
            else:
                assert isinstance(event, ScaleAsked)
                assert worker.number > self.wanted
            worker.retired = True
        worker.told.append((urgency, self.now))

    def end_reload(self, generation: int, failure: Failure | None) -> None:
        if self.stopped_by:
            assert self.reloading or self.asked, "nothing was to be ended"
            assert failure is not None
            self.reloading = self.asked = False
            self.broken.clear()
            return
        if generation > self.generation:
            self.begin_reload()
        assert self.reloading, "ended twice"
        assert generation == self.generation
        if failure is None:
            for worker in self.alive.values():
                assert worker.abandoned or worker.let_go or worker.generation == generation
            new = [w.number for w in self.alive.values() if w.serves and w.generation == generation]
            assert sorted(new) == list(range(1, self.wanted + 1)), "not every place is renewed"
        else:
            assert self.broken, "nothing failed"
            assert self.expected in {None, failure}
        self.broken.clear()
        self.reloading, self.ended = False, failure


def test_any_order_of_events_keeps_every_guarantee() -> None:
    """Workers boot, fail, die and hang, all is asked for, the clock jumps: guarantees hold."""
    run_state_machine_as_test(
        Supervision, settings=settings(deadline=None, max_examples=200, stateful_step_count=40)
    )


def begin(policy: Policy) -> Rules:
    rules = Rules(policy)
    rules.handle(Begin(), 0.0)
    return rules


def all_ready(policy: Policy) -> Rules:
    rules = begin(policy)
    for name in range(1, policy.workers + 1):
        rules.handle(Booted(name), 0.0)
    assert rules.announced
    return rules


def wait(rules: Rules, now: float) -> tuple[float, list[Action]]:
    """Lets time pass until the deadline."""
    deadline = rules.deadline()
    assert deadline is not None, "waits for ever"
    assert deadline > now, "waits for nothing"
    return deadline, rules.handle(TimePassed(), deadline)


@pure
@given(policy=policies, urgency=stops, workers_exit=st.booleans(), ready=st.booleans())
def test_a_stop_always_ends(
    policy: Policy, urgency: Urgency, workers_exit: bool, ready: bool
) -> None:
    """Workers that exit when told end at once; those that nothing ends are given up in time."""
    rules = all_ready(policy) if ready else begin(policy)
    rules.handle(ReloadAsked(), 100.0)
    actions = rules.handle(StopAsked(urgency), 100.0)
    now, finish = 100.0, None
    while finish is None:
        told = [action.worker for action in actions if isinstance(action, Tell)]
        if workers_exit:
            actions = [a for name in told for a in rules.handle(Exited(name, "exited"), now)]
        else:
            now, actions = wait(rules, now)
        finish = next((action for action in actions if isinstance(action, Finish)), None)
    assert finish == Finish(None)
    most = 0.0 if workers_exit else policy.graceful_timeout + STOP_MARGIN + UNKILLABLE_AFTER
    assert now - 100.0 <= most


@pure
@given(
    policy=policies,
    asked=st.lists(st.integers(0, 6), max_size=6),
    let_go=st.booleans(),
    stubborn=st.booleans(),
)
def test_a_reload_renews_all_whatever_is_asked_meanwhile(
    policy: Policy, asked: list[int], let_go: bool, stubborn: bool
) -> None:
    """Every worker is replaced once; all that was asked during a reload is one more."""
    rules = all_ready(policy)
    spawned, ends, most, now = Counter[tuple[int, int]](), list[Action](), 0, 10.0
    actions = rules.handle(ReloadAsked(), now)
    steps, again = 0, False
    while actions or rules.deadline() is not None:
        most = max(most, len(rules.stages()))
        events: list[Event] = []
        for action in actions:
            match action:
                case Spawn(name, number, generation):
                    spawned[number, generation] += 1
                    events.append(Booted(name))
                case Tell(name, Urgency.GRACEFUL):
                    events += [LetGo(name)] if let_go else []
                    events += [] if stubborn else [Exited(name, "exited")]
                case Tell(name, Urgency.NOW):
                    events.append(Exited(name, "was killed by SIGKILL"))
                case ReloadEnds():
                    ends.append(action)
        if not events and rules.deadline() is not None:
            now, actions = wait(rules, now)
            continue
        actions = []
        for event in events:
            if steps in asked and rules.generation == 1 and rules.reloading:
                again = True
                actions += rules.handle(ReloadAsked(), now)
            steps += 1
            actions += rules.handle(event, now)
    generations = [1, 2] if again else [1]
    assert ends == [ReloadEnds(generation, None) for generation in generations]
    places = range(1, policy.workers + 1)
    assert spawned == Counter((number, g) for g in generations for number in places)
    assert most <= policy.workers + policy.overlap
    assert list(rules.stages().values()) == [Stage.READY] * policy.workers


@pure
@given(policy=policies, wanted=st.lists(sizes, min_size=1, max_size=5), obey=st.booleans())
def test_scaling_ends_with_as_many_as_were_asked_for_last(
    policy: Policy, wanted: list[int], obey: bool
) -> None:
    """Up and down, and up again before the ones that are too many have gone."""
    rules = all_ready(policy)
    before, told, now = policy.workers, list[int](), 10.0
    for workers in wanted:
        actions = rules.handle(ScaleAsked(workers), now)
        new = [action for action in actions if isinstance(action, Spawn)]
        assert [order.number for order in new] == list(range(before + 1, workers + 1))
        old = [action.worker for action in actions if isinstance(action, Tell)]
        assert len(old) == max(0, before - workers)
        for order in new:
            assert rules.handle(Booted(order.worker), now) == []
        told += old
        before = workers
    if obey:
        assert all(rules.handle(Exited(name, "exited"), now) == [] for name in told)
    while rules.deadline() is not None:
        now, _ = wait(rules, now)
    assert list(rules.stages().values()) == [Stage.READY] * before
    assert rules.workers == before


@pure
@given(
    policy=policies,
    deaths=st.integers(1, 60),
    lived=st.floats(0.0, 0.9),  # of `young`
    clock=small_and_large,
)
def test_pauses_of_a_crash_loop_double_up_to_the_longest(
    policy: Policy, deaths: int, lived: float, clock: float
) -> None:
    """A worker that dies young each time comes back at once, then ever later, up to a limit."""
    rules = all_ready(policy)
    now, waits, name = policy.young + 1.0, list[float](), policy.workers + 1
    # an old one: the count starts at none
    assert rules.handle(Exited(1, "exited"), now) == [Spawn(name, 1, 0)]
    for _ in range(deaths):
        rules.handle(Booted(name), now)
        now += lived * policy.young
        exited, name = Exited(name, "exited"), name + 1
        if rules.handle(exited, now) == [Spawn(name, 1, 0)]:
            waits.append(0.0)
        else:
            began = now
            now, actions = wait(rules, now)
            waits.append(now - began)
            assert actions == [Spawn(name, 1, 0)]
        now += abs(clock)  # how long it boots says nothing about how long it lived
    doubling = [policy.first_pause * 2.0**n for n in range(deaths - 1)]
    expected = [0.0] + [min(pause, policy.longest_pause) for pause in doubling]
    assert all(abs(a - b) < 1e-6 for a, b in zip(waits, expected, strict=True))


@pure
@given(policy=policies, reported=st.lists(st.none() | failures, min_size=4, max_size=4))
def test_hopeless_boots_end_with_their_failure(
    policy: Policy, reported: list[Failure | None]
) -> None:
    """The boot that makes it hopeless gives the failure and the code; until then it goes on."""
    policy = replace(policy, boot_timeout=1e6)  # the siblings boot all the while
    rules = begin(policy)
    now, tries, name = 0.0, 0, 1
    while True:
        failure = reported[tries]
        tries += 1
        if failure is not None:
            assert rules.handle(BootFailed(name, failure), now) == []
        actions = rules.handle(Exited(name, "was killed by SIGKILL"), now)
        same_for_all = failure is not None and failure.code is ExitCode.TARGET_FAILED
        if same_for_all or tries == policy.boot_tries:
            break
        name = policy.workers + tries
        if isinstance(actions[0], Pause):
            now, actions = wait(rules, now)
        assert actions == [Spawn(name, 1, 0)]
    siblings = range(2, policy.workers + 1)
    assert actions[: policy.workers] == [
        StopBegins(),
        *(Tell(sibling, Urgency.QUICK) for sibling in siblings),
    ]
    for sibling in siblings:
        actions += rules.handle(Exited(sibling, "exited with code 0"), now)
    unexplained = "worker 1 was killed by SIGKILL before it was ready"
    assert actions[-1] == Finish(failure or Failure(ExitCode.BOOT_FAILED, unexplained))


@pure
@given(policy=policies, picks=st.lists(st.integers(0, MOST), max_size=60))
def test_it_is_given_up_once_every_place_was_tried_enough(policy: Policy, picks: list[int]) -> None:
    """However the places take turns in failing, and not before."""
    policy = replace(policy, boot_timeout=1e6)
    rules = all_ready(policy)
    now, failed = 10.0, Counter[int]()
    booting: dict[int, int] = {}
    actions = [
        a for n in range(1, policy.workers + 1) for a in rules.handle(Exited(n, "died"), now)
    ]
    while not any(isinstance(action, StopBegins) for action in actions):
        booting |= {a.worker: a.number for a in actions if isinstance(a, Spawn)}
        assert any(failed[number] < policy.boot_tries for number in range(1, policy.workers + 1))
        if booting:
            chosen = (picks.pop() if picks else 0) % len(booting)
            name = list(booting)[chosen]
            failed[booting.pop(name)] += 1
            actions = rules.handle(Exited(name, "died"), now)
        else:
            now, actions = wait(rules, now)
    assert max(failed.values()) >= policy.boot_tries
