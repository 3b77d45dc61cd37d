"""A server as a service: what its surroundings are told, and what they want of it."""

from __future__ import annotations

import os
from typing import Final

from manycore.base.board import Board
from manycore.base.notify import Notifier
from manycore.base.pidfile import PidFile
from manycore.settings import ServeSettings
from manycore.supervise.events import Failure
from manycore.supervise.supervisor import Supervisor

from .place import SharedPlace
from .statistics import Column, State
from .upgrade import Handover

PINGS: Final = 2  # a watchdog's period: one that is late by less than half is no reason to end us


class Service:
    """Tells the service manager, keeps the pid file, and has what the workers share.

    Args:
        settings: Of the server.
        handover: What another server gave us, whose place we shall take.
        is_main: Whether the service manager knows this process as the service's.

    Raises:
        PidFileError: When there cannot be one.
    """

    def __init__(
        self, settings: ServeSettings, *, is_main: bool = True, handover: Handover | None = None
    ) -> None:
        self._pid_file: PidFile | None = None
        if handover is not None and handover.pid_file is not None:
            handed = PidFile.taken_over(settings.pid_file, handover.pid_file)
            if settings.pid_file and handed.is_at(settings.pid_file):
                self._pid_file = handed
            else:
                handed.let_go()  # its server removes it
        if settings.pid_file and self._pid_file is None:
            self._pid_file = PidFile(settings.pid_file)
        self.shared = SharedPlace()
        self._notifier = Notifier.take(os.environ) if is_main else Notifier()
        self._handover = handover  # until we take over, another one speaks
        self._is_ready = False
        self._supervisor: Supervisor
        self._board: Board

    def begin(self, supervisor: Supervisor, board: Board) -> None:
        """The supervisor is about to start the workers."""
        self._supervisor, self._board = supervisor, board

    def ready(self) -> None:
        """Every worker is ready, for the first time."""
        self._is_ready = True
        self._notifier.ready(self._status())
        if self._notifier.watchdog is not None:
            self._ping()

    def take_over(self) -> None:
        """From now on it is we who are known to the surroundings, and no other server."""
        if self._handover is None:
            return
        self._notifier = Notifier(self._handover.notify, self._handover.watchdog)
        self._handover = None
        if self._pid_file is not None:
            self._pid_file.write()
        self._notifier.is_main()
        if self._is_ready:  # or the other one ended too early
            self.ready()

    def hand_over(self, pid: int) -> None:
        """From now on it is another server."""
        self._notifier.main_pid(pid)
        if self._pid_file is not None:
            self._pid_file.let_go()

    def handover(
        self, listeners: list[tuple[str, int, bool, tuple[int, int] | None]], channel: int
    ) -> Handover:
        """Gives what another server is given that shall take our place."""
        pid_file = None if self._pid_file is None else self._pid_file.fd
        notifier = self._notifier
        return Handover(listeners, channel, pid_file, notifier.place, notifier.watchdog)

    def upgrade_begins(self) -> None:
        """Another server is starting that shall take our place."""
        self._notifier.reloading("upgrading")

    def upgrade_fails(self) -> None:
        """It will not."""
        if not self._supervisor.stopping:
            self._notifier.ready(f"{self._status()}; the last upgrade failed")

    def reload_begins(self) -> None:
        """Workers are about to be renewed."""
        self._notifier.reloading("reloading")

    def reload_ends(self, failure: Failure | None) -> None:
        """They were, or one could not be."""
        if self._supervisor.stopping:
            return
        how = "" if failure is None else f"; the last reload failed: {failure.problem}"
        self._notifier.ready(self._status() + how)

    def stopping(self, status: str = "stopping: open connections may finish") -> None:
        """The server ends, or is about to."""
        self._notifier.stopping(status)

    def descriptors(self) -> list[int]:
        """What is not for the workers."""
        return [] if self._pid_file is None else [self._pid_file.fd]

    def close(self) -> None:
        """Removes the pid file, and what the workers shared."""
        self.shared.close()
        if self._pid_file is not None and self._handover is None:
            self._pid_file.close()

    def _status(self) -> str:
        supervisor = self._supervisor
        return f"serving: {supervisor.workers} workers, generation {supervisor.generation}"

    def _ping(self) -> None:
        """Says that all is well, while it is: this loop runs, and somebody serves, or finishes."""
        if self._notifier.watchdog is None:
            return
        if self._supervisor.stopping or self._somebody_serves():
            self._notifier.alive()
        self._supervisor.call_later(self._notifier.watchdog / PINGS, self._ping)

    def _somebody_serves(self) -> bool:
        rows = (self._board.row(index) for index in range(1, self._board.rows))
        return any(row[Column.PID] and row[Column.STATE] == State.READY for row in rows)
