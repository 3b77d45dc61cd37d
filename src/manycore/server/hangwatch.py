"""Watches workers that have connections, and ends those that hang; in the supervisor.

Guarantees: while nobody is connected nothing wakes the supervisor; before a worker is ended, the
log says where each of its threads is.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping

from manycore.base.board import Board
from manycore.base.doorbell import Doorbell
from manycore.base.stacks import describe
from manycore.supervise.asking import WorkerStacks
from manycore.supervise.events import Hung
from manycore.supervise.supervisor import Supervisor

from .hangs import HangRules, Seen
from .statistics import Column, State, thread_seconds

log = logging.getLogger("manycore.server")


class HangWatch:
    """Looks at every worker, a few times in the time that one may stand still.

    Args:
        timeout: Seconds that it may; 0: nobody looks.
        board: What the workers did.
        rows: Their rows, by name.
    """

    def __init__(self, timeout: float, board: Board, rows: Mapping[int, int]) -> None:
        self._rules = HangRules(timeout)
        self._board = board
        self._rows = rows
        self._looking = False
        self._doorbell = Doorbell() if timeout else None
        self._supervisor: Supervisor

    def begin(self, supervisor: Supervisor) -> None:
        """The supervisor is about to start the workers."""
        self._supervisor = supervisor
        if self._doorbell is not None:
            self._ear = os.dup(
                self._doorbell.fileno()
            )  # no worker keeps what the supervisor waits for
            supervisor.watch(self._ear, self._wake)
            self._board.row(0)[Column.STATE] = 1

    def ring(self) -> None:
        """Is called in a worker that has taken a connection while nobody looked."""
        if self._doorbell is not None:
            self._doorbell.ring()

    def gone(self, name: int) -> None:
        """A worker has ended."""
        self._rules.forget(name)

    def close(self) -> None:
        """Lets go of the doorbell."""
        if self._doorbell is not None:
            self._doorbell.close()
            os.close(self._ear)

    def _wake(self) -> None:
        if self._doorbell is not None:
            self._doorbell.hear()
        self._board.row(0)[Column.STATE] = 0
        if not self._looking:
            self._looking = True
            self._look()

    def _look(self) -> None:
        now = time.monotonic()
        for name, index in list(self._rows.items()):
            row = self._board.row(index)
            if row[Column.STATE] == State.BOOTING or row[Column.ACCEPTED] == row[Column.FINISHED]:
                self._rules.forget(name)
                continue
            seen = _seen(row)
            if seen is not None and self._rules.look(name, seen, now):
                self._ask(name)
        self._looking = self._somebody_is_busy() or self._nobody_looks()
        if self._looking:
            self._supervisor.call_later(self._rules.look_every, self._look)

    def _nobody_looks(self) -> bool:
        """Asks to be woken; True when somebody has come just before that."""
        self._board.row(0)[Column.STATE] = 1
        return self._somebody_is_busy()

    def _somebody_is_busy(self) -> bool:
        """Whether a worker has a connection, or took one just now and has not counted it yet."""
        recently = time.monotonic_ns() - self._rules.look_every * 1e9
        rows = map(self._board.row, self._rows.values())
        return any(
            row[Column.ACCEPTED] != row[Column.FINISHED] or row[Column.CAME] > recently
            for row in rows
        )

    def _ask(self, name: int) -> None:
        pid = self._board.row(self._rows[name])[Column.PID]
        log.debug("pid %d does not move, and is asked where its threads are", pid)
        self._supervisor.ask_one_for_stacks(name, lambda found: self._judge(name, found))

    def _judge(self, name: int, found: WorkerStacks) -> None:
        index = self._rows.get(name)
        seen = None if index is None else _seen(self._board.row(index))
        if index is None or seen is None:
            return
        row, now = self._board.row(index), time.monotonic()
        where = (found.note, tuple(found.stacks)) if found.note else None
        if not self._rules.hangs(
            name, where=where, stuck=bool(row[Column.STUCK]), seen=seen, now=now
        ):
            return
        self._rules.forget(name)
        age = (time.monotonic_ns() - row[Column.CAME]) / 1e9
        log.error(
            "worker %d (pid %d) hangs and is ended: it made no progress in %g s%s; it has %d open "
            "connections, the last of which came %.1f s ago\n%s",
            found.worker,
            found.pid,
            self._rules.timeout,
            f" ({found.note})" if found.note else "",
            row[Column.ACCEPTED] - row[Column.FINISHED],
            age,
            describe(found.stacks),
        )
        self._supervisor.ask(Hung(name))


def _seen(row: memoryview) -> Seen | None:
    cpu = thread_seconds(row[Column.PID])
    if not cpu:
        return None
    return Seen(row[Column.ACCEPTED], row[Column.FINISHED], cpu)
