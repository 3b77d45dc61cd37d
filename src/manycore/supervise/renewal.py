"""Which workers are replaced by new ones while they serve, and when. Pure.

There are two reasons: a reload, after which only workers of the new code serve, and a worker that
has lived long enough. A reload comes first; what it replaces need not be renewed for the other.
"""

from __future__ import annotations

from collections import deque

from .events import Action, Failure, ReloadEnds, SuccessorFails
from .roster import Roster, Stage, Worker


class Renewal:
    """The state of reloads, and of those who have lived long enough.

    Args:
        roster: The workers and their places.
    """

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._reloading = False
        self._reload_again = False  # one was asked for that cannot begin yet
        self._renew: deque[int] = deque()  # places that still have an old worker
        self._spent: deque[int] = deque()  # who has lived long enough
        self._spent_again: float | None = None  # when the next of them may be tried

    @property
    def reloading(self) -> bool:
        """Whether workers are being renewed by a reload, or are about to be."""
        return self._reloading or self._reload_again

    @property
    def deadline(self) -> float | None:
        """When something is due; None: nothing is timed."""
        return self._spent_again

    def ask_reload(self) -> None:
        """Every worker shall be replaced, once that can begin."""
        self._reload_again = True

    def add_spent(self, name: int) -> None:
        """A worker shall be replaced, since it has lived long enough."""
        self._spent.append(name)

    def stop(self, failure: Failure) -> list[Action]:
        """Renews nobody any more."""
        self._reload_again = False
        self._spent_again = None
        return self._end_reload(failure) if self._reloading else []

    def advance(self, now: float) -> list[Action]:
        """Begins a reload, starts successors as far as there is room, ends it when all is new."""
        return self._advance_reload(now) + self._renew_spent(now)

    def boot_failed(self, worker: Worker, failure: Failure) -> list[Action] | None:
        """A worker could not boot in a place that had nobody: ends a reload that wants its code.

        Returns:
            What is to be done; None if that was no matter of a reload.
        """
        if self._reloading and worker.generation == self._roster.generation:
            return self._end_reload(failure)
        return None

    def successor_failed(self, worker: Worker, how: str, now: float) -> list[Action]:
        """A successor could not boot: who serves goes on."""
        if worker.relieves:
            return self._try_later(worker, how, now)
        if not self._reloading or worker.generation < self._roster.generation:
            return []  # what is left of a reload that failed
        return self._end_reload(worker.boot_failure(how))

    def _advance_reload(self, now: float) -> list[Action]:
        actions: list[Action] = []
        while True:
            if not self._reloading:
                if not self._reload_again:
                    break
                self._reloading, self._reload_again = True, False
                self._roster.generation += 1
                self._renew = deque(sorted(self._roster.places))
            actions += self._start_successors(now)
            if self._renew or not self._only_new_code_serves():
                break
            actions += self._end_reload(None)
        return actions

    def _start_successors(self, now: float) -> list[Action]:
        roster, actions = self._roster, list[Action]()
        while self._renew:
            place = roster.places.get(self._renew[0])
            old = None if place is None or place.worker is None else roster.workers[place.worker]
            if place is not None and old is not None and old.generation < roster.generation:
                is_free = old.stage is Stage.READY and place.successor is None
                room = roster.extra < roster.policy.overlap
                if not is_free or not room or self._older_ones_drain():
                    break
                actions.append(roster.succeed(self._renew[0], now))
            self._renew.popleft()
        return actions

    def _only_new_code_serves(self) -> bool:
        """Whether every place has a new worker that is ready, and no old one takes work still."""
        roster = self._roster
        return all(
            place.successor is None
            and roster.is_ready(place.worker)
            and roster.generation_in(place) == roster.generation
            for place in roster.places.values()
        ) and not any(
            worker.generation < roster.generation and worker.takes_work
            for worker in roster.workers.values()
        )

    def _older_ones_drain(self) -> bool:
        """Whether a worker drains whose code is older than all that serves: a third generation."""
        oldest = min(map(self._roster.generation_in, self._roster.places.values()))
        return any(worker.generation < oldest for worker in self._roster.workers.values())

    def _end_reload(self, failure: Failure | None) -> list[Action]:
        self._reloading = False
        self._renew.clear()
        return [ReloadEnds(self._roster.generation, failure)]

    def _renew_spent(self, now: float) -> list[Action]:
        """Starts a successor for one that has lived long enough, if nothing else is renewed."""
        roster = self._roster
        if self._spent_again is not None and now >= self._spent_again:
            self._spent_again = None
        if self.reloading or self._spent_again is not None or roster.any_beside():
            return []
        while self._spent:
            worker = roster.workers.get(self._spent.popleft())
            if worker is None or worker.stage is not Stage.READY:
                continue  # it is gone, or was replaced for another reason
            order = roster.succeed(worker.number, now)
            roster.workers[order.worker].relieves = True
            return [order]
        return []

    def _try_later(self, successor: Worker, how: str, now: float) -> list[Action]:
        """Leaves a worker where it is whose successor could not boot, for a while."""
        old = self._roster.places[successor.number].worker
        if old is not None:
            self._spent.append(old)
        pause = self._roster.policy.longest_pause
        self._spent_again = now + pause
        return [SuccessorFails(successor.number, successor.boot_failure(how), pause)]
