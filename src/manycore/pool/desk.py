"""What a pool's rules know of one worker: what it has, and how far it is. Pure.

A worker numbers the tasks that it is sent, from 0. What it has done and begun are two counts that
the dispatcher reads from memory that both share, so they are known after its death too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

from .pace import Pace


class Lot(Protocol):
    """Tasks that travel together."""

    @property
    def key(self) -> Hashable:
        """What their time is remembered by."""

    @property
    def timeout(self) -> float | None:
        """Seconds after which a task of it is ended, its grace included."""

    def doubt(self) -> bool:
        """Counts that a worker died before it had begun any; whether that is due to this one."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice) -> Any: ...


class Queue(Protocol):
    """Tasks that wait for a worker."""

    def __len__(self) -> int: ...

    def take(self, most: int, fair: int, pace: Pace) -> Any:
        """Gives tasks for a batch; None when there are none.

        Args:
            most: How many at most.
            fair: How many leave enough for others, when these are worth a message.
            pace: How long they take.
        """

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
    unread: tuple[int, float] = (-1, 0.0)  #: a task that it had not begun, and when that was seen
    overtime: bool = False  #: it was killed as it took longer than it may
    lent: bool = False  #: somebody else gives it tasks
    stuck: bool = False  #: its running task takes longer than was thought

    @property
    def waiting(self) -> int:
        """How many tasks it has."""
        return sum(len(batch.lot) for batch in self.batches)

    def put(self, lot: Any) -> Batch:
        """Takes tasks; gives them with their numbers."""
        batch = Batch(self.next, lot)
        self.next += len(lot)
        self.batches.append(batch)
        self.messages.append(lot.key)
        return Batch(batch.first, lot)

    def cut(self, count: int) -> Any:
        """Keeps so many tasks of the newest batch; gives the others, or None."""
        batch = self.batches[-1]
        if count >= len(batch.lot):
            return None
        rest = batch.lot[count:]
        batch.lot = batch.lot[:count]
        self.next = batch.end
        return rest

    def done(self, count: int) -> list[Any]:
        """Gives the tasks that were done, up to a count of its tasks, in order."""
        finished = []
        while self.batches and self.batches[0].end <= count:
            finished.append(self.batches.popleft().lot)
        if self.batches and self.batches[0].first < count:
            batch = self.batches[0]
            many = count - batch.first
            finished.append(batch.lot[:many])
            batch.lot = batch.lot[many:]
            batch.first = count
        return finished

    def hangs(self, begun: int) -> bool:
        """Whether the worker runs the task that it ran at the last look.

        One that has begun none of what it has is still reading it, importing perhaps. So would the
        next one: nothing is taken from it.
        """
        return begun == self.begun and begun > self.batches[0].first

    def take_back(self, begun: int) -> list[Any]:
        """Gives what the worker was told not to begin, and has not, in order."""
        later = [batch for batch in self.batches if batch.first >= self.recalled]
        earlier = [batch for batch in self.batches if batch.first < self.recalled]
        self.batches = deque()
        unbegun = []
        for batch in earlier:
            kept = max(0, min(begun - batch.first, len(batch.lot)))
            if kept:
                self.batches.append(Batch(batch.first, batch.lot[:kept]))
            if kept < len(batch.lot):
                unbegun.append(batch.lot[kept:])
        self.batches.extend(later)
        return unbegun

    def split(self, begun: int) -> tuple[list[Any], list[Any]]:
        """Gives what a worker that has died was running, and what it had not begun."""
        lost, unbegun = [], []
        for batch in self.batches:
            if batch.first >= begun:
                unbegun.append(batch.lot)
                continue
            lost.append(batch.lot[:1])
            if len(batch.lot) > 1:
                unbegun.append(batch.lot[1:])
        return lost, unbegun
