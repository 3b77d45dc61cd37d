"""When a worker hangs. Pure.

A worker moves while it accepts or finishes connections, or one of its threads uses CPU. (All of
them together are no measure: each that waits for the interpreter's lock wakes 200 times a second.)
One that has connections and does not move may still be well: its clients may have nothing to say.
So it is asked where its threads are, twice, and hangs when

* it does not answer, and its threads are at the same places both times: some C code that waits
  holds the interpreter's lock, or somebody has stopped the process;
* in asyncio and greenlets: the loop is in the same wait both times, and it is not the one for
  events;
* in threads: every thread that may exist serves, clients wait in the queue, and more than half of
  the threads are in the same wait both times, and it is not the one for their client.

Nobody is asked who moves, so one that computes is never judged at all.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Final

IDLE_CPU: Final = 0.02  # of a CPU: more than a thread takes to watch and wait
LOOKS: Final = 4  # in the time that a worker may stand still
ASKED: Final = 2  # times in that time: a machine that is very busy may keep one from answering
ANSWER_CPU: Final = 0.1  # seconds: what to say where a thousand threads are takes
TICK: Final = 0.02  # seconds: two of the kernel's, by which its clocks are wrong


@dataclass(frozen=True, slots=True)
class Seen:
    """A worker at one time.

    Attributes:
        accepted: Connections taken.
        finished: Those of them that have ended.
        cpu: Seconds of CPU that each of its threads has used so far, by the thread's id.
    """

    accepted: int
    finished: int
    cpu: Mapping[int, float]


@dataclass(slots=True)
class _Record:
    seen: Seen
    at: float
    still_since: float
    asked: int = 0
    where: Hashable = None  # its threads were, when it last did not answer
    answers: bool = False  # it may be answering still


@dataclass(slots=True)
class HangRules:
    """Which workers to ask, and whom to give up.

    Attributes:
        timeout: Seconds that a worker may stand still.
    """

    timeout: float
    _records: dict[int, _Record] = field(default_factory=dict)

    @property
    def look_every(self) -> float:
        """Seconds between two looks at a worker that has connections."""
        return self.timeout / LOOKS

    def look(self, worker: int, seen: Seen, now: float) -> bool:
        """Takes note of a worker; says whether it shall be asked where its threads are."""
        record = self._records.get(worker)
        if record is None or _moves(record, seen, now):
            self._records[worker] = _Record(seen, now, now)
            return False
        record.seen, record.at = seen, now
        still = now - record.still_since
        if still >= self.timeout / ASKED * (record.asked + 1):
            record.asked += 1
            record.answers = True
            return True
        return False

    def hangs(self, worker: int, *, where: Hashable, stuck: bool, seen: Seen, now: float) -> bool:
        """Judges a worker that was asked.

        Args:
            worker: Its name.
            where: Where its threads are, if it did not answer by itself; None: it did.
            stuck: What it said: whether it is stuck, and was when it was asked before.
            seen: How it is now.
            now: The time.
        """
        record = self._records.get(worker)
        if record is None or _moves(record, seen, now):
            self._records.pop(worker, None)
            return False
        record.answers = False
        record.seen, record.at = seen, now
        deaf = where is not None and where == record.where
        record.where = where
        return now - record.still_since >= self.timeout and (stuck or deaf)

    def forget(self, worker: int) -> None:
        """A worker is gone, or has no connections."""
        self._records.pop(worker, None)


def _moves(record: _Record, seen: Seen, now: float) -> bool:
    before = record.seen
    if (before.accepted, before.finished) != (seen.accepted, seen.finished):
        return True
    own = TICK + IDLE_CPU * (now - record.at) + (ANSWER_CPU if record.answers else 0.0)
    return any(used - before.cpu.get(thread, 0.0) > own for thread, used in seen.cpu.items())


def is_stuck(*, threads: bool, still: int, open_: int, limit: int, queued: int) -> bool:
    """Judges what a worker found out of itself.

    Args:
        threads: Whether it serves in threads; else one loop serves all.
        still: How many threads are in a wait that is not for their clients, as they were before.
        open_: How many connections it has.
        limit: How many it may have.
        queued: How many clients wait in the kernel's queue.
    """
    if not threads:
        return still > 0
    return open_ >= limit and queued > 0 and still > open_ / 2
