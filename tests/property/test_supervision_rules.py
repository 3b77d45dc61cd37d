"""The guarantees of the supervision rules, under any order of events and any clock."""

from __future__ import annotations

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
from manycore.supervise.rules import (
    STOP_MARGIN,
    UNKILLABLE_AFTER,
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
    Interrupted,
    Pause,
    Policy,
    Rules,
    Spawn,
    Stage,
    StopAsked,
    StopBegins,
    Tell,
    TimePassed,
    Urgency,
)

pure = settings(deadline=None)  # a busy machine may stall any example; pytest's timeout guards

SETTLED_WITHIN = 8  # deadlines from any state to the end: pause, stop, kill, abandon, and to spare

policies = st.builds(
    Policy,
    workers=st.integers(1, 4),
    graceful_timeout=st.sampled_from([0.0, 0.5, 30.0]),
    boot_timeout=st.sampled_from([0.5, 60.0]),
    young=st.sampled_from([1.0, 10.0]),
    first_pause=st.sampled_from([0.1, 3.0]),
    longest_pause=st.sampled_from([1.0, 30.0]),
    boot_tries=st.integers(1, 4),
)
stops = st.sampled_from([Urgency.GRACEFUL, Urgency.QUICK, Urgency.NOW])
failures = st.builds(
    Failure,
    code=st.sampled_from([ExitCode.BOOT_FAILED, ExitCode.TARGET_FAILED]),
    problem=st.sampled_from(["it raised", "no room"]),
)
small_and_large = st.one_of(st.floats(-1.0, 1.0), st.floats(-10_000.0, 10_000.0))


@dataclass
class Worker:
    """A process as the world knows it: it is there from `Spawn` to `Exited`."""

    born: float
    reported: bool = False
    ready: bool = False
    told: list[tuple[Urgency, float]] = field(default_factory=list)
    abandoned: bool = False

    def due(self, policy: Policy) -> float | None:
        """When somebody has to look after it."""
        if self.abandoned:
            return None
        if self.told:
            urgency, at = self.told[-1]
            patience = {
                Urgency.GRACEFUL: policy.graceful_timeout + STOP_MARGIN,
                Urgency.QUICK: STOP_MARGIN,
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


class Supervision(RuleBasedStateMachine):
    """A world of workers around the rules, which believes nothing that they say unchecked."""

    @initialize(policy=policies, now=st.floats(0.0, 10_000.0), patience=st.integers(0, 40))
    def start(self, policy: Policy, now: float, patience: int) -> None:
        self.policy = policy
        self.subject = Rules(policy)
        self.now = now
        self.patience = patience  # events until somebody may think of a stop
        self.alive: dict[int, Worker] = {}
        self.resumes: dict[int, float] = {}  # numbers that pause, and until when
        self.begun = self.announced = self.finished = False
        self.urgency = Urgency.NONE
        self.stopped_by: Event | None = None

    # What may happen.

    @precondition(lambda self: not self.begun)
    @rule()
    def begin(self) -> None:
        self.begun = True
        self.send(Begin())

    @precondition(lambda self: self.unreported())
    @rule(data=st.data())
    def boot(self, data: st.DataObject) -> None:
        self.become_ready(data.draw(st.sampled_from(self.unreported())))

    @precondition(lambda self: self.unreported())
    @rule()
    def boot_all(self) -> None:
        for number in self.unreported():
            self.become_ready(number)

    @precondition(lambda self: self.unreported())
    @rule(data=st.data(), failure=failures)
    def fail_to_boot(self, data: st.DataObject, failure: Failure) -> None:
        number = data.draw(st.sampled_from(self.unreported()))
        self.alive[number].reported = True
        self.send(BootFailed(number, failure))

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def exit(self, data: st.DataObject) -> None:
        self.end(data.draw(st.sampled_from(sorted(self.alive))))

    @precondition(lambda self: self.patience <= 0)
    @rule(urgency=stops)
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
    def every_number_has_a_worker_or_a_time_at_which_it_gets_one(self) -> None:
        if self.begun and not self.urgency:
            numbers = set(range(1, self.policy.workers + 1))
            assert self.alive.keys() | self.resumes.keys() == numbers
            assert not self.alive.keys() & self.resumes.keys()

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
        for number, stage in self.subject.stages().items():
            worker = self.alive.get(number)
            assert (stage is Stage.READY) == (worker is not None and worker.serves)
            if stage in {Stage.BOOTING, Stage.STOPPING}:
                assert worker is not None
            if stage is Stage.GONE:
                assert worker is None or worker.abandoned

    def teardown(self) -> None:
        """Given time, a stop ends, however workers take it."""
        if not hasattr(self, "subject"):
            return
        self.ask_to_stop(Urgency.GRACEFUL)
        for _ in range(SETTLED_WITHIN):
            if self.finished:
                break
            assert self.subject.deadline() is not None, "waits for ever"
            self.wait_for_the_deadline()
        assert self.finished
        assert self.subject.deadline() is None
        for number in list(self.alive):  # the kernel lets go of them at last
            self.end(number)
        for event in (Begin(), TimePassed(), StopAsked(Urgency.NOW), Interrupted()):
            self.send(event)

    # The world.

    def unreported(self) -> list[int]:
        return sorted(number for number, worker in self.alive.items() if not worker.reported)

    def next_due(self) -> float | None:
        times = [worker.due(self.policy) for worker in self.alive.values()]
        return min([t for t in times if t is not None] + [*self.resumes.values()], default=None)

    def become_ready(self, number: int) -> None:
        worker = self.alive[number]
        worker.reported = True
        worker.ready = not worker.told  # who was told to stop becomes nothing else any more
        self.send(Booted(number))

    def end(self, number: int) -> None:
        worker = self.alive.pop(number)
        event = Exited(number, "exited with code 1")
        serving = any(other.serves for other in self.alive.values())
        stopped_before = bool(self.urgency)
        self.send(event)
        if self.stopped_by is event:
            assert not stopped_before
            assert not worker.ready, "one that served ends nothing"
            assert not (self.announced and serving), "others serve, and all once did"

    def send(self, event: Event) -> None:
        was_finished = self.finished
        self.patience -= 1
        actions = self.subject.handle(event, self.now)
        note(f"{self.now:g}: {event} -> {actions}")
        assert not (was_finished and actions), "something comes after the end"
        for action in actions:
            assert not self.finished, "something comes after the end"
            self.take(action, event)

    def take(self, action: Action, event: Event) -> None:
        match action:
            case Spawn(number):
                assert number not in self.alive, "two under one number"
                assert not self.stopped_by, "started after the stop"
                assert self.resumes.pop(number, self.now) <= self.now, "started before its time"
                self.alive[number] = Worker(self.now)
            case Tell(number, urgency):
                worker = self.alive[number]
                assert urgency > worker.urgency, "told the same twice"
                if not self.stopped_by:
                    assert urgency is Urgency.NOW, "only what does not boot is killed"
                    assert not worker.ready
                worker.told.append((urgency, self.now))
            case Pause(number, seconds):
                assert number not in self.alive
                assert not self.stopped_by
                longest = self.policy.longest_pause
                assert min(self.policy.first_pause, longest) <= seconds <= longest
                self.resumes[number] = self.now + seconds
            case Announce():
                assert not self.announced, "announced twice"
                assert not self.stopped_by
                assert len(self.alive) == self.policy.workers
                assert all(worker.serves for worker in self.alive.values())
                self.announced = True
            case StopBegins():
                assert not self.stopped_by, "stops twice"
                assert isinstance(event, StopAsked | Interrupted | Exited)
                self.stopped_by = event
                self.urgency = max(self.urgency, self.subject.urgency)
                self.resumes.clear()
            case Abandon(number):
                worker = self.alive[number]
                due = worker.due(self.policy)
                assert worker.urgency is Urgency.NOW
                assert due is not None, "abandoned twice"
                assert due <= self.now
                worker.abandoned = True
            case Finish(failure):
                assert self.stopped_by, "ends before a stop"
                assert all(worker.abandoned for worker in self.alive.values())
                assert (failure is not None) == isinstance(self.stopped_by, Exited)
                self.finished = True


def test_any_order_of_events_keeps_every_guarantee() -> None:
    """Workers boot, fail, die and hang, stops come, the clock jumps: all guarantees hold."""
    run_state_machine_as_test(
        Supervision, settings=settings(deadline=None, max_examples=200, stateful_step_count=40)
    )


def begin(policy: Policy) -> Rules:
    rules = Rules(policy)
    rules.handle(Begin(), 0.0)
    return rules


def all_ready(policy: Policy) -> Rules:
    rules = begin(policy)
    for number in range(1, policy.workers + 1):
        rules.handle(Booted(number), 0.0)
    assert rules.announced
    return rules


@pure
@given(policy=policies, urgency=stops, workers_exit=st.booleans(), ready=st.booleans())
def test_a_stop_always_ends(
    policy: Policy, urgency: Urgency, workers_exit: bool, ready: bool
) -> None:
    """Workers that exit when told end at once; those that nothing ends are given up in time."""
    rules = all_ready(policy) if ready else begin(policy)
    actions = rules.handle(StopAsked(urgency), 100.0)
    now, finish = 100.0, None
    while finish is None:
        told = [action.worker for action in actions if isinstance(action, Tell)]
        if workers_exit:
            actions = [a for n in told for a in rules.handle(Exited(n, "exited"), now)]
        else:
            deadline = rules.deadline()
            assert deadline is not None
            assert deadline > now
            now = deadline
            actions = rules.handle(TimePassed(), now)
        finish = next((action for action in actions if isinstance(action, Finish)), None)
    assert finish == Finish(None)
    most = 0.0 if workers_exit else policy.graceful_timeout + STOP_MARGIN + UNKILLABLE_AFTER
    assert now - 100.0 <= most


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
    rules.handle(Exited(1, "exited"), policy.young + 1.0)  # an old one: the count starts at none
    now, waits = policy.young + 1.0, []
    for _ in range(deaths):
        rules.handle(Booted(1), now)
        now += lived * policy.young
        if rules.handle(Exited(1, "exited"), now) == [Spawn(1)]:
            waits.append(0.0)
        else:
            deadline = rules.deadline()
            assert deadline is not None
            waits.append(deadline - now)
            now = deadline
            assert rules.handle(TimePassed(), now) == [Spawn(1)]
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
    now, tries = 0.0, 0
    while True:
        failure = reported[tries]
        tries += 1
        if failure is not None:
            assert rules.handle(BootFailed(1, failure), now) == []
        actions = rules.handle(Exited(1, "was killed by SIGKILL"), now)
        same_for_all = failure is not None and failure.code is ExitCode.TARGET_FAILED
        if same_for_all or tries == policy.boot_tries:
            break
        if actions != [Spawn(1)]:
            deadline = rules.deadline()
            assert deadline is not None
            now = deadline
            assert rules.handle(TimePassed(), now) == [Spawn(1)]
    siblings = range(2, policy.workers + 1)
    assert actions[: policy.workers] == [
        StopBegins(),
        *(Tell(number, Urgency.QUICK) for number in siblings),
    ]
    for number in siblings:
        actions += rules.handle(Exited(number, "exited with code 0"), now)
    unexplained = "worker 1 was killed by SIGKILL before it was ready"
    assert actions[-1] == Finish(failure or Failure(ExitCode.BOOT_FAILED, unexplained))
