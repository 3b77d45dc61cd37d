"""A server's workers, as the supervisor sees them."""

from __future__ import annotations

import errno
import heapq
import logging
import os
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from manycore.base import descriptors, kernel, logs, privileges, signals, sockets, strangers
from manycore.base.board import Board
from manycore.base.sockets import Listener
from manycore.errors import ManycoreError, TargetError
from manycore.settings import MOST_WORKERS, NO_CONTROL
from manycore.supervise.events import Failure, ReloadAsked, Spawn
from manycore.supervise.handle import Life, Tell
from manycore.supervise.supervisor import Supervisor
from manycore.watch import places
from manycore.watch.control import ControlSocket

from . import inside, statistics, upgrade, worker
from .control import ServerControl
from .entrance import Entrance
from .handover import Inboxes
from .hangwatch import HangWatch
from .hooks import Hooks, ServerFacts, WorkerFacts
from .inside import Inside
from .job import Job
from .lastgood import LastGood
from .plan import describe_limit
from .protection.protections import Protections
from .service import Service
from .siblings import Siblings
from .statistics import Column, serving, settle, use_row
from .upgrade import NO_SUCCESSION, Handover, Upgrade

if TYPE_CHECKING:
    from .watching import Watching

log = logging.getLogger("manycore.server")

DESCRIPTORS: Final = 64  # of the supervisor itself
DESCRIPTORS_A_PLACE: Final = 8  # two ends of its inbox, three for each of two workers


class ServerCrew:
    """Gives workers their lives, their rows on the board, and the listeners.

    Args:
        job: What is served.
        listeners: Where; closed by the supervisor, last of all.
        board: Where the workers count.
        announce: Called when every worker is ready.
        service: Who tells the surroundings.
        hooks: What the program wants to be called for.
    """

    def __init__(
        self,
        job: Job,
        listeners: list[Listener],
        board: Board,
        announce: Callable[[], None],
        service: Service,
        hooks: Hooks,
    ) -> None:
        self._job = job
        self._listeners = listeners
        self._board = board
        self._announce = announce
        self._service = service
        self._hooks = hooks
        where = tuple(str(listener) for listener in listeners)
        self._facts = ServerFacts(job.name, os.getpid(), where, job.settings.workers)
        hooks.require("on_starting", self._facts)
        self._rows: dict[int, int] = {}  # by the worker's name
        self._free = list(range(1, board.rows))
        self._starts: Counter[int] = Counter()  # by place
        self._socket: ControlSocket | None = None
        self._watching: Watching | None = None
        self._upgrade: Upgrade | None = None
        self._borrowed: list[tuple[Listener, bool, tuple[int, int] | None]] = []
        self.succession = NO_SUCCESSION
        self._inboxes = Inboxes()
        self._identity = privileges.find(job.settings.user, job.settings.group)
        self._protections = Protections(job.settings, board)
        self._hangs = HangWatch(job.settings.timeout, board, self._rows)
        self._last_good = LastGood() if job.settings.certificate else None

    def begin(self, supervisor: Supervisor) -> None:
        """Opens the control socket, if there shall be one."""
        self._supervisor = supervisor
        self._hooks.call("nworkers_changed", self._facts, self._job.settings.workers, None)
        self._service.begin(supervisor, self._board)
        self._hangs.begin(supervisor)
        if self._job.settings.reload:
            self._watch_files()
        self._control = ServerControl(self._job, self._listeners, self._board, supervisor)
        if self.succession.handover is None:
            self._open_control()
        else:
            self._borrow(self.succession.handover)
            channel = self.succession.handover.channel
            supervisor.watch(channel, partial(self._take_over, channel))

    def _open_control(self) -> None:
        supervisor = self._supervisor
        path = self._job.settings.control_socket
        if path == NO_CONTROL:
            return
        try:
            name = self._job.settings.name or str(os.getpid())
            path = path or places.path_of(name)
            self._socket = ControlSocket(path, supervisor, self._control.handle)
        except ManycoreError as error:  # serving is what this is for
            log.warning("there is no control socket: %s", error)

    def _borrow(self, handover: Handover) -> None:
        """Leaves the listeners that we were given to the other server until we take over.

        If we fail before, they must neither hear no newcomer any more nor lose their files.
        """
        names = {name for name, _, _, _ in handover.listeners}
        for address, listener in zip(self._job.settings.bind, self._listeners, strict=True):
            if str(address) in names:
                self._borrowed.append((listener, listener.ours, listener.file))
                listener.hand_on()

    def _take_over(self, channel: int) -> None:
        """The server whose place we take says so, or has ended."""
        self._supervisor.unwatch(channel)
        os.close(channel)
        for listener, ours, file in self._borrowed:
            listener.ours, listener.file = ours, file
        self._service.take_over()
        self._open_control()
        log.info("took over: pid %d is the server now", os.getpid())

    def upgrade(self) -> None:
        """Starts a server that shall take our place."""
        command = self.succession.command
        if command is None or strangers.is_first():
            why = "process 1 is the container" if command else "no command started this server"
            log.warning("ignored SIGUSR2: there is no upgrade, since %s", why)
        elif self._upgrade is not None or self._supervisor.stopping:
            log.warning("ignored SIGUSR2: an upgrade or a stop is under way")
        else:
            log.info("upgrading: got SIGUSR2")
            self._begin_upgrade(command)

    def _begin_upgrade(self, command: list[str]) -> None:
        try:
            self._hooks.require("pre_exec", self._facts)
            patience = upgrade.START + upgrade.BOOTS * self._job.settings.boot_timeout
            self._upgrade = Upgrade(
                command, self._handover, self._supervisor, patience, self._hand_over, self._stay
            )
            self._service.upgrade_begins()
        except TargetError as error:
            why = Failure.of(error).in_words()
            log.error("the upgrade failed, this server goes on: %s", why)  # noqa: TRY400
        except OSError as error:
            log.error("the upgrade failed, this server goes on: %s", error)  # noqa: TRY400

    def _handover(self, channel: int) -> Handover:
        asked = map(str, self._job.settings.bind)
        facts = (listener.facts() for listener in self._listeners)
        return self._service.handover(
            [(name, *fact) for name, fact in zip(asked, facts, strict=True)], channel
        )

    def _stay(self) -> None:
        self._upgrade = None
        self._service.upgrade_fails()

    def _hand_over(self, pid: int) -> None:
        """The new server serves: it shall be known from now on, and we shall finish."""
        log.info("upgraded: pid %d takes over, this server finishes what it has open", pid)
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._service.hand_over(pid)
        for listener in self._listeners:
            listener.hand_on()
        self._upgrade = None
        self._supervisor.retire()

    def _watch_files(self) -> None:
        from .watching import Watching, places_to_watch

        places = places_to_watch(self._job.name, self._job.settings.reload_extra, Path.cwd())
        try:
            self._watching = Watching(places, self._supervisor, self._files_changed)
        except OSError as error:  # serving is what this is for
            log.warning("changed files cannot be seen: %s", error)

    def _files_changed(self, files: str) -> None:
        log.info("reloading: %s changed", files)
        self._supervisor.ask(ReloadAsked())

    def close(self) -> None:
        """Lets go of whoever is connected to the control socket: that says that all has ended."""
        self._hooks.call("on_exit", self._facts)
        if self._watching is not None:
            self._watching.close()
        if self._socket is not None:
            self._socket.close()
        self._inboxes.close()
        self._protections.close()
        self._hangs.close()
        if self._last_good is not None:
            self._last_good.close()

    def life(self, order: Spawn) -> Life:
        """Prepares a worker."""
        if not self._free:
            raise OSError(errno.EAGAIN, "too many workers are still draining")
        coming = WorkerFacts(order.number, 0, order.generation)
        self._hooks.require("pre_fork", self._facts, coming)
        places = max(self._supervisor.workers, order.number)
        descriptors.allow(DESCRIPTORS + DESCRIPTORS_A_PLACE * places)
        self._inboxes.provide(places)
        row = self._rows[order.worker] = heapq.heappop(self._free)
        use_row(self._board, row)
        self._protections.share_among(self._supervisor.workers)
        self._starts[order.number] += 1
        # whoever reloads wants the files of now, or to hear what is wrong with them
        strict = self._supervisor.reloading
        entrance = partial(Entrance, self._job.settings, self._last_good, strict=strict)
        return partial(self._live, order, row, entrance)

    def _live(self, order: Spawn, index: int, entrance: Callable[[], Entrance], tell: Tell) -> int:
        privileges.become(self._identity)
        row = self._board.row(index)
        row[Column.NUMBER], row[Column.GENERATION] = order.number, order.generation
        row[Column.RESTARTS] = self._starts[order.number] - 1
        row[Column.PID] = os.getpid()
        self._inboxes.only_use()
        inside.enter(Inside(self._service.shared, self._job.settings.offload_workers))
        who = WorkerFacts(order.number, os.getpid(), order.generation)
        before = partial(self._hooks.require, "post_fork", self._facts, who)
        after = partial(self._hooks.require, "post_worker_init", who)
        aborted = partial(self._hooks.call, "worker_abort", who)
        calls = worker.Calls(
            before,
            after,
            quit=partial(self._hooks.call, "worker_int", who),
            abort=aborted if "worker_abort" in self._hooks else None,
        )
        with signals.captured() as inbox:
            try:
                siblings = Siblings(order.number, self._inboxes, self._board)
                guard = self._protections.guard(index, self._hangs.ring)
                return worker.live(
                    order.number,
                    tell,
                    inbox,
                    self._job,
                    self._listeners,
                    row,
                    calls,
                    entrance,
                    siblings,
                    guard,
                )
            finally:  # what it is told meanwhile does not cut it off
                self._hooks.call("worker_exit", self._facts, who)

    def limit(self, workers: int) -> int:
        """Keeps the number of workers within what the board has rows for."""
        return min(max(1, workers), MOST_WORKERS)

    def scaled(self, workers: int, before: int) -> None:
        """Says so."""
        self._hooks.call("nworkers_changed", self._facts, workers, before)

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
        if settings.reuse_port:
            _warn_of_shared_ports()
        if lacking := kernel.missing():
            log.warning(
                "this kernel has no %s: what that costs is in docs/platforms.md", ", ".join(lacking)
            )
        self._hooks.call("when_ready", self._facts)
        self._service.ready()
        self._announce()

    def reload_begins(self) -> None:
        """Says so."""
        self._hooks.call("on_reload", self._facts)
        self._service.reload_begins()

    def reload_ends(self, generation: int, failure: Failure | None) -> None:
        """Says how a reload went."""
        self._control.reload_ends(generation, failure)
        self._service.reload_ends(failure)
        if failure is None:
            log.info("reloaded: every worker is of generation %d", generation)
            return
        if self._supervisor.stopping:
            log.info("the reload ends with the server")
            return
        log.error("the reload failed, the old workers go on: %s", failure.in_words())

    def stop_nears(self, delay: float) -> None:
        """Says so."""
        self._control.stopping()
        self._service.stopping(f"stopping in {delay:g} s; still serving")

    def close_the_door(self) -> None:
        """Keeps the queue from growing, so that it can be served to its end."""
        for listener in self._listeners:
            listener.refuse_newcomers()

    def somebody_is_half_in(self) -> bool:
        """Whether a client's handshake is not at its end."""
        return any(listener.handshakes() for listener in self._listeners)

    def stopping(self) -> None:
        """Says so; the queue grows no more."""
        self._control.stopping()
        self._service.stopping()
        if self._upgrade is not None:
            self._upgrade.cancel()
        self.close_the_door()

    def work_ends(self) -> None:
        """Leaves ports that other servers have too, so that new clients go to those at once.

        Any other listener is kept: its clients wait, and are not refused, until all has ended. One
        that was handed on to a server which does not want it would keep them waiting for nobody.
        """
        for listener in self._listeners:
            if listener.sock.fileno() < 0:
                continue  # the kernel knew no other way to keep newcomers out
            if not listener.ours or sockets.is_shared(listener.sock):
                listener.close()

    def gone(self, order: Spawn) -> None:
        """Closes the books of a worker that has ended."""
        index = self._rows.pop(order.worker, None)
        if index is None:  # it never had one
            return
        self._hooks.call("child_exit", self._facts, WorkerFacts(order.number, 0, order.generation))
        lost = settle(self._board, index)
        self._hangs.gone(order.worker)
        self._protections.forget(index)
        self._protections.share_among(self._supervisor.workers)
        heapq.heappush(self._free, index)
        self._inboxes.forward({place: had - done for place, had, done in serving(self._board)})
        if lost:
            log.warning("worker %d took %d open connections with it", order.number, lost)

    def reopen_logs(self) -> None:
        """Opens the log file anew, here and in every worker."""
        if logs.reopen():
            self._supervisor.pass_on(signal.SIGUSR1)
            log.info("the log file was opened anew")
            return
        log.warning("ignored SIGUSR1: the log goes to standard error, which cannot be reopened")


def _warn_of_shared_ports() -> None:
    """Says what a port that several servers have costs their clients."""
    words = (
        "reuse-port: the kernel spreads clients over the servers of a port by a hash, not by load"
    )
    if not sockets.moves_queues():
        words += "; who is queued at one that is killed is lost (sysctl net.ipv4.tcp_migrate_req=1)"
    log.warning("%s", words)
