"""A worker's life: load the target, say so, serve, drain, end."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, NoReturn

from manycore.base import descriptors, stackfile
from manycore.base.doorbell import Doorbell
from manycore.base.signals import Inbox
from manycore.base.sockets import Listener
from manycore.base.titles import set_title
from manycore.errors import ExitCode
from manycore.settings import MODES
from manycore.supervise.events import Failure
from manycore.supervise.handle import Tell
from manycore.supervise.report import LetGoReport, ReadyReport, SpentReport, StacksReport

from . import modes
from .acceptor import Acceptor
from .entrance import Entrance
from .job import Job
from .modes.mode import Mode
from .plan import plan
from .protection.guard import Guard
from .siblings import Siblings
from .statistics import Column, State
from .stillness import Stillness

log = logging.getLogger("manycore.server")

CLOSE_PATIENCE = 0.5  # seconds that the mode may take to end, when the deadline is near or past
SPARE_DESCRIPTORS = 256  # for what is open besides connections: modules, logs, databases

_STOPS = (signal.SIGTERM, signal.SIGQUIT)
#: meant for the supervisor, and sent to all by `pkill manycore`: they must not kill a worker
_NOT_OURS = (
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
)


class Calls(NamedTuple):
    """What is called in a worker's life; what the first two raise keeps it from becoming ready.

    Attributes:
        before: Before the target is loaded.
        after: When the mode has started.
        quit: When it is told to end at once.
        abort: When it is ended since it hangs; None: nothing is.
    """

    before: Callable[[], None]
    after: Callable[[], None]
    quit: Callable[[], None]
    abort: Callable[[], None] | None


def live(
    number: int,
    tell: Tell,
    inbox: Inbox,
    job: Job,
    listeners: list[Listener],
    row: memoryview,
    calls: Calls,
    entrance: Callable[[], Entrance],
    siblings: Siblings,
    guard: Callable[[Mode, Callable[[], None]], Guard],
) -> int:
    """Lives the whole life of a worker, in its own process.

    Args:
        number: The worker's number, from 1.
        tell: Reports to the supervisor that the worker is ready, or why it cannot be.
        inbox: Captures nothing yet, so that a worker that boots is ended by any signal.
        job: What to serve, and how.
        listeners: Where connections come from.
        row: The worker's row on the board, which is its alone.
        calls: What is called meanwhile.
        entrance: Gives what each connection passes first.
        siblings: The other workers.
        guard: Gives the worker's protections, when told what it serves with, and whom to tell that
            it shall be renewed.

    Returns:
        The process's exit code.
    """
    set_title(f"worker {number}/{job.settings.workers}")
    wake = Doorbell()
    try:
        calls.before()
        mode = _boot(job, listeners, entrance, row, wake.ring)
        inbox.capture(*_STOPS)  # who is told to end until now ends at once
        calls.after()
    except Exception as error:  # whatever it is, the supervisor must hear of it
        failure = Failure.of(error)
        tell(failure)
        return failure.code

    stillness = Stillness(mode, listeners, row)

    def show_stacks() -> None:
        stackfile.answer()
        stillness.look()
        tell(StacksReport())

    abort = [] if calls.abort is None else [signal.SIGABRT]
    inbox.capture(*_unclaimed_signals(), *abort, stackfile.ASK)
    inbox.react(signal.SIGQUIT, calls.quit)
    inbox.react(signal.SIGABRT, partial(_abort, calls.abort))
    acceptor = Acceptor(
        listeners,
        mode,
        siblings,
        guard(mode, partial(tell, SpentReport())),
        wake=wake,
        graceful_timeout=job.settings.graceful_timeout,
        row=row,
        inbox=inbox,
        let_go=partial(tell, LetGoReport()),
        show_stacks=show_stacks,
    )
    row[Column.SINCE], row[Column.STATE] = time.monotonic_ns(), State.READY
    tell(ReadyReport())
    acceptor.run()
    mode.close(max(CLOSE_PATIENCE, acceptor.time_left))
    # who never offloads has none
    if offloading := sys.modules.get(f"{__package__}.offloading"):
        offloading.end()
    return ExitCode.OK


def _abort(call: Callable[[], None] | None) -> NoReturn:
    """Dies as whoever is told to abort does, core dump and all, after a last call."""
    try:
        if call is not None:
            call()
    finally:
        os.abort()


def _boot(
    job: Job,
    listeners: list[Listener],
    entrance: Callable[[], Entrance],
    row: memoryview,
    freed: Callable[[], None],
) -> Mode:
    address = listeners[0].address
    planned = plan(job.load(), job.name, address, job.settings)
    descriptors.allow(planned.limit + SPARE_DESCRIPTORS)
    mode = modes.create(planned, job.name, address, job.settings, entrance(), row, freed)
    mode.start()
    row[Column.MODE] = MODES.index(planned.mode)
    return mode


def _unclaimed_signals() -> list[signal.Signals]:
    """Gives the signals that the target did not take for itself."""
    defaults = {signal.SIG_DFL, signal.default_int_handler}
    return [signum for signum in _NOT_OURS if signal.getsignal(signum) in defaults]
