"""What a pool says of itself: `pool.statistics()`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from .ledger import Ledger


@dataclass(frozen=True, slots=True)
class TimeSpent:
    """Where the time of the workers went, in seconds, all workers together.

    Attributes:
        starting: From a worker's birth until its initializer had run.
        working: Inside functions.
        pickling: With tasks, but not inside a function: reading them and writing results.
        waiting: Without a task while some were queued.
        idle: Without a task while none was queued and others worked.
        sending: Not the workers': the program's thread wrote tasks.
        collecting: Not the workers': the program's thread read results.
        elapsed: On the clock, since the first task, without the time when all was done.
    """

    starting: float
    working: float
    pickling: float
    waiting: float
    idle: float
    sending: float
    collecting: float
    elapsed: float

    @property
    def workers(self) -> float:
        """All seconds of the workers."""
        return self.starting + self.working + self.pickling + self.waiting + self.idle


@dataclass(frozen=True, slots=True)
class PoolWorkerStatistics:
    """One worker of a pool.

    Attributes:
        name: What people see.
        pid: Its process id.
        state: `booting`, `serving`, `retiring` or `ending`.
        busy: Whether it has tasks.
        tasks: How many it has done.
        memory: Bytes that it holds now.
    """

    name: str
    pid: int
    state: str
    busy: bool
    tasks: int
    memory: int


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """A pool, at one moment.

    Attributes:
        workers: How many it shall have.
        busy: How many have tasks.
        queued: Tasks that were not sent to a worker.
        done: Tasks that are over, failed ones among them.
        failed: Tasks that failed, each try counted.
        lost: Tasks whose worker died while it ran them, each try counted.
        retried: Tries again.
        started: Workers that were ever started.
        seconds: Where the time went.
        each: The workers that live now; none for threads.
    """

    workers: int
    busy: int
    queued: int
    done: int
    failed: int
    lost: int
    retried: int
    started: int
    seconds: TimeSpent
    each: tuple[PoolWorkerStatistics, ...]


def statistics_of(engine: Any) -> PoolStatistics:
    """Reads an engine's figures; from any thread, and without asking anybody."""
    ledger: Ledger = engine.ledger
    now = time.monotonic()
    spent = ledger.sum(now)
    each = _workers(engine)
    return PoolStatistics(
        workers=engine.workers,
        busy=engine.count_busy(),
        queued=len(engine.queue),
        done=ledger.tasks + ledger.alone.tasks,
        failed=ledger.failed + ledger.alone.failed,
        lost=ledger.lost,
        retried=ledger.retried,
        started=ledger.born,
        seconds=TimeSpent(
            starting=spent.starting,
            working=spent.working,
            pickling=spent.pickling,
            waiting=spent.waiting,
            idle=spent.idle,
            sending=ledger.sending,
            collecting=ledger.collecting,
            elapsed=ledger.elapsed(now),
        ),
        each=each,
    )


def _workers(engine: Any) -> tuple[PoolWorkerStatistics, ...]:
    found = []
    for number, handle in sorted(getattr(engine, "handles", {}).copy().items()):
        desk = engine.schedule.desks.get(number)
        if desk is None:  # it has just ended
            continue
        found.append(
            PoolWorkerStatistics(
                name=handle.name,
                pid=handle.pid,
                state=desk.stage.name.lower(),
                busy=bool(desk.messages) or number in engine.lent,
                tasks=handle.tasks,
                memory=handle.memory_used(),
            )
        )
    return tuple(found)
