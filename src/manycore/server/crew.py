"""A server's workers, as the supervisor sees them."""

from __future__ import annotations

import errno
import heapq
import logging
import os
from collections import Counter
from collections.abc import Callable
from functools import partial

from manycore.base.board import Board
from manycore.base.sockets import Listener
from manycore.errors import ManycoreError
from manycore.settings import MOST_WORKERS, NO_CONTROL
from manycore.supervise.events import Failure, Spawn
from manycore.supervise.handle import Life, Tell
from manycore.supervise.supervisor import Supervisor
from manycore.watch import places
from manycore.watch.control import ControlSocket

from . import statistics, worker
from .control import ServerControl
from .handover import Inboxes
from .job import Job
from .plan import describe_limit
from .siblings import Siblings
from .statistics import Column, State, rows_in_use, settle, use_row

log = logging.getLogger("manycore.server")


class ServerCrew:
    """Gives workers their lives, their rows on the board, and the listeners.

    Args:
        job: What is served.
        listeners: Where; closed by the supervisor, last of all.
        board: Where the workers count.
        announce: Called when every worker is ready.
    """

    def __init__(
        self,
        job: Job,
        listeners: list[Listener],
        board: Board,
        announce: Callable[[], None],
    ) -> None:
        self._job = job
        self._listeners = listeners
        self._board = board
        self._announce = announce
        self._rows: dict[int, int] = {}  # by the worker's name
        self._free = list(range(1, board.rows))
        self._starts: Counter[int] = Counter()  # by place
        self._socket: ControlSocket | None = None
        self._inboxes = Inboxes()

    def begin(self, supervisor: Supervisor) -> None:
        """Opens the control socket, if there shall be one."""
        self._supervisor = supervisor
        path = self._job.settings.control_socket
        self._control = ServerControl(self._job, self._listeners, self._board, supervisor)
        if path == NO_CONTROL:
            return
        try:
            name = self._job.settings.name or str(os.getpid())
            path = path or places.path_of(name)
            self._socket = ControlSocket(path, supervisor, self._control.handle)
        except ManycoreError as error:  # serving is what this is for
            log.warning("there is no control socket: %s", error)

    def close(self) -> None:
        """Lets go of whoever is connected to the control socket: that says that all has ended."""
        self._inboxes.close()
        if self._socket is not None:
            self._socket.close()

    def life(self, order: Spawn) -> Life:
        """Prepares a worker."""
        if not self._free:
            raise OSError(errno.EAGAIN, "too many workers are still draining")
        self._inboxes.provide(max(order.number, self._supervisor.workers))
        row = self._rows[order.worker] = heapq.heappop(self._free)
        use_row(self._board, row)
        self._starts[order.number] += 1
        return partial(self._live, order, row)

    def _live(self, order: Spawn, index: int, tell: Tell) -> int:
        row = self._board.row(index)
        row[Column.NUMBER], row[Column.GENERATION] = order.number, order.generation
        row[Column.RESTARTS] = self._starts[order.number] - 1
        row[Column.PID] = os.getpid()
        siblings = partial(Siblings, order.number, self._inboxes, self._board)
        return worker.live(order.number, tell, self._job, self._listeners, row, siblings)

    def limit(self, workers: int) -> int:
        """Keeps the number of workers within what the board has rows for."""
        return min(max(1, workers), MOST_WORKERS)

    def ready(self) -> None:
        """Says so, to people and to whoever waits."""
        settings = self._job.settings
        modes = [worker.mode for worker in statistics.read(self._board).workers]
        log.info(
            "ready: %s on %s, %d workers with %s, pid %d",
            self._job.name,
            " ".join(map(str, self._listeners)),
            settings.workers,
            describe_limit(modes[0] if modes else settings.mode, settings),
            os.getpid(),
        )
        self._announce()

    def reload_ends(self, generation: int, failure: Failure | None) -> None:
        """Says how a reload went."""
        self._control.reload_ends(generation, failure)
        if failure is None:
            log.info("reloaded: every worker is of generation %d", generation)
            return
        if self._supervisor.stopping:
            log.info("the reload ends with the server")
            return
        where = f"{failure.where}: " if failure.where else ""
        log.error("the reload failed, the old workers go on: %s%s", where, failure.problem)
        if failure.details:
            log.error("%s", failure.details)

    def stopping(self) -> None:
        """Keeps the queue from growing, so that it can be served to its end."""
        self._control.stopping()
        for listener in self._listeners:
            listener.refuse_newcomers()

    def gone(self, order: Spawn) -> None:
        """Closes the books of a worker that has ended."""
        index = self._rows.pop(order.worker, None)
        if index is None:  # it never had one
            return
        lost = settle(self._board, index)
        self._forward(order.number)
        heapq.heappush(self._free, index)
        if lost:
            log.warning("worker %d took %d open connections with it", order.number, lost)

    def _forward(self, place: int) -> None:
        """Gives what a worker had not yet taken to another one, if there is one that takes more."""
        if not self._inboxes.queued(place):
            return
        rows = rows_in_use(self._board)
        states = self._board.column(Column.STATE, rows)
        numbers = self._board.column(Column.NUMBER, rows)
        for state, number in zip(states, numbers, strict=True):
            if state == State.READY:
                self._inboxes.move(place, number)
                return

    def reopen_logs(self) -> None:
        """Standard error has no name that could be opened again."""
        log.warning("ignored SIGUSR1: the log goes to standard error, which cannot be reopened")
