"""The ledger agrees with a clock that watches every worker all the time."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from manycore.pool import events
from manycore.pool.ledger import Ledger

STEP = 0.5  # seconds: sums of it are exact


class Watched:
    """What a worker does, and for how long it did what."""

    def __init__(self) -> None:
        self.ready = False
        self.messages = 0
        self.queued = False
        self.worked = 0.0  # since the last answer


class LedgerMachine(RuleBasedStateMachine):
    """Workers that are born, take and answer batches, and die, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.workers: dict[int, Watched] = {}
        self.next = 0
        self.now = 100.0
        self.starting = self.busy = self.waiting = self.idle = self.elapsed = 0.0
        self.at_rest = True
        self.begun = False

    def pick(self, index: int) -> tuple[int, Watched]:
        number = sorted(self.workers)[index % len(self.workers)]
        return number, self.workers[number]

    @rule()
    def start(self) -> None:
        self.ledger.started(self.next, self.now)
        self.workers[self.next] = Watched()
        self.next += 1

    @precondition(lambda self: self.workers)
    @rule(index=st.integers(0, 9), queued=st.booleans(), part=st.sampled_from([0.0, 0.5, 1.0]))
    def go_on(self, index: int, queued: bool, part: float) -> None:
        """A worker gets ready, or takes a batch, or answers one."""
        number, worker = self.pick(index)
        if not worker.ready:
            worker.ready = True
            self.ledger.note(events.Ready(number), queued=queued, now=self.now)
        elif worker.messages < 2 and not (worker.messages and queued):
            worker.messages += 1
            self.ledger.sent(number, self.now, queued=queued)
            for other in self.workers.values():
                other.queued = other.queued and queued
            self.at_rest = False
            self.begun = True
        else:
            seconds, worker.worked = worker.worked * part, 0.0
            self.ledger.note(events.Answered(number, 1, seconds), queued=queued, now=self.now)
            worker.messages -= 1
            self.stop(worker, queued)

    @precondition(lambda self: self.workers)
    @rule(index=st.integers(0, 9), queued=st.booleans())
    def die(self, index: int, queued: bool) -> None:
        number, worker = self.pick(index)
        del self.workers[number]
        self.ledger.note(events.Died(number, 0), queued=queued, now=self.now)
        if worker.messages:
            worker.messages = 0
            self.stop(worker, queued)

    def stop(self, worker: Watched, queued: bool) -> None:
        if not worker.messages:
            worker.queued = queued
            if not queued and not any(other.messages for other in self.workers.values()):
                self.at_rest = True

    @rule()
    def time_passes(self) -> None:
        self.now += STEP
        self.elapsed += STEP if self.begun and not self.at_rest else 0.0
        for worker in self.workers.values():
            if not worker.ready:
                self.starting += STEP
            elif worker.messages:
                self.busy += STEP
                worker.worked += STEP
            elif not self.at_rest and worker.queued:
                self.waiting += STEP
            elif not self.at_rest:
                self.idle += STEP

    @invariant()
    def every_second_is_counted_once(self) -> None:
        found = self.ledger.sum(self.now)
        assert math.isclose(found.starting, self.starting)
        assert math.isclose(found.working + found.pickling, self.busy)
        assert math.isclose(found.waiting, self.waiting)
        assert math.isclose(found.idle, self.idle)
        assert found.working >= 0 <= found.pickling
        assert math.isclose(self.ledger.elapsed(self.now), self.elapsed)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
