"""Runs a server's supervisor: in this process, or as the whole of a fresh one."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from typing import NoReturn

from manycore.base import logs, privileges, sockets, strangers
from manycore.base.board import Board
from manycore.base.sockets import Listener
from manycore.base.streams import fill_standard_descriptors
from manycore.base.titles import set_title
from manycore.errors import (
    BootError,
    ExitCode,
    ManycoreError,
    PidFileError,
    SettingsError,
    TargetError,
)
from manycore.settings import ServeSettings
from manycore.supervise.events import Failure, Policy
from manycore.supervise.report import ReadyReport, Report, encode
from manycore.supervise.supervisor import STOPS, Supervisor

from .crew import ServerCrew
from .hooks import Hooks
from .job import Job, Parcel
from .service import Service
from .statistics import Column
from .upgrade import NO_SUCCESSION, Succession

log = logging.getLogger("manycore.server")


def run(
    job: Job,
    listeners: list[Listener],
    board: Board,
    *,
    owner: int | None = None,
    private: Iterable[int] = (),
    is_main: bool = True,
    announce: Callable[[], None] = lambda: None,
    succession: Succession = NO_SUCCESSION,
) -> Failure | None:
    """Serves until told to stop. Main thread of a process that has no other.

    Args:
        job: What to serve.
        listeners: Where. They are closed here, after the last worker has ended.
        board: Where the workers count.
        owner: A descriptor that becomes readable when the server has lost its reason to run.
        private: Further descriptors that are not for the workers.
        is_main: Whether the service manager knows this process as the service's.
        announce: Called when every worker is ready.
        succession: Whose place it takes, and how it may be replaced itself.

    Returns:
        Why it ended, if workers could not boot.
    """
    settings = job.settings
    policy = Policy(
        workers=settings.workers,
        graceful_timeout=settings.graceful_timeout,
        boot_timeout=settings.boot_timeout,
        overlap=settings.reload_overlap,
        pre_stop_delay=settings.pre_stop_delay,
    )
    with ExitStack() as cleanup:  # the listeners last
        for listener in listeners:
            cleanup.callback(listener.close)
        service = Service(settings, is_main=is_main, handover=succession.handover)
        cleanup.callback(service.close)
        crew = ServerCrew(job, listeners, board, announce, service, Hooks.of(settings.hooks))
        crew.succession = succession
        cleanup.callback(crew.close)
        secrets = [*private, *service.descriptors()]
        failure = Supervisor(crew, policy, owner=owner, private=secrets).run()
    log.log(logging.DEBUG if failure else logging.INFO, "stopped")
    return failure


def prepare(settings: ServeSettings) -> None:
    """Sets up the log, and what files this process and its workers make.

    Raises:
        SettingsError: When the log file cannot be opened.
    """
    if settings.umask is not None:
        os.umask(settings.umask)
    owner = privileges.find(settings.user, settings.group).owner
    logs.configure(settings.log_level, settings.log_format, settings.log_file, owner)


def as_error(failure: Failure) -> ManycoreError:
    """Makes an exception of a failure."""
    if failure.code is ExitCode.TARGET_FAILED:
        return TargetError(failure.where, failure.problem, failure.remedy, failure.details)
    if failure.code is ExitCode.USAGE:
        return SettingsError(failure.where, failure.problem, failure.remedy)
    if failure.code is ExitCode.FAILED and failure.where:
        return PidFileError(failure.where, failure.problem, failure.remedy)
    return BootError(failure.problem, failure.details)


def hold_stops_back() -> None:
    """As process 1, lets a stop that comes while all begins wait until it can be taken.

    The kernel drops a signal that process 1 has no handler for, unless it is blocked.
    """
    if strangers.is_first():
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


def replace_process(parcel: Parcel) -> NoReturn:
    """Turns this process into the supervisor, with nothing left of what it was."""
    from manycore.base.interpreter import command

    fd = parcel.pack()
    for inherited in (fd, *parcel.descriptors()):
        os.set_inheritable(inherited, True)
    arguments = command(__name__, fd)
    # one that comes before the supervisor can take it waits until it can
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    os.execv(arguments[0], arguments)  # noqa: S606  # no shell is what is wanted


def main(fd: int) -> NoReturn:
    """The whole of a process that is a supervisor.

    Args:
        fd: The descriptor of its parcel.
    """
    fill_standard_descriptors()
    parcel = Parcel.unpack(fd)
    for inherited in parcel.descriptors():
        os.set_inheritable(inherited, False)
    sys.path[:] = parcel.path
    settings = parcel.job.settings
    set_title(f"supervisor {parcel.job.name}")

    told = parcel.report if parcel.handover is None else parcel.handover.channel

    def tell(report: Report) -> None:
        if told is not None:
            with suppress(OSError):  # whoever asked is gone; `owner` says so too
                os.write(told, encode(report))

    gc.collect()
    gc.freeze()  # a collection in a worker would copy every page that it shares with us
    try:
        prepare(settings)
        failure = _run_parcel(parcel, tell)
    except PidFileError as error:
        failure = Failure(error.exit_code, error.problem, error.path, error.remedy)
    except (TargetError, SettingsError) as error:
        failure = Failure.of(error)
    if failure is None:
        sys.exit(ExitCode.OK)
    tell(failure)
    if parcel.report is None:
        complain(as_error(failure), debug=settings.log_level == "debug")
    sys.exit(failure.code)


def _run_parcel(parcel: Parcel, tell: Callable[[Report], None]) -> Failure | None:
    return run(
        parcel.job,
        sockets.adopt(parcel.listeners),
        Board(parcel.board, len(Column)),
        owner=parcel.owner,
        private=[] if parcel.report is None else [parcel.report],
        is_main=parcel.report is None and parcel.handover is None,
        announce=lambda: tell(ReadyReport()),
        succession=Succession(parcel.command, parcel.handover),
    )


def complain(error: ManycoreError, *, debug: bool) -> None:
    """Tells the person at the terminal, on one line; with the traceback where that was asked for.

    A worker that cannot boot shows its traceback always: nothing else tells why.
    """
    details = getattr(error, "details", "")
    if details and (debug or error.exit_code is ExitCode.BOOT_FAILED):
        sys.stderr.write(details)
    logs.say(f"error: {error}")
