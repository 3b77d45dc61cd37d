"""A process's own life: it becomes the `Process` object that its parent sent, and runs it."""

from __future__ import annotations

import atexit
import pickle
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import util
from typing import Any, Final

from manycore.base import passing, signals
from manycore.base.birth import OUTCOME, number_message
from manycore.base.channel import Channel
from manycore.base.failures import Failure

from .outcome import FAILURE, NOTHING, UNSENDABLE, VALUE
from .payload import unpack

#: how many frames of a traceback are this module's: they tell the reader nothing
_OUR_FRAMES: Final = 1


def live(payload: bytes, channel: Channel, lifeline: int, fds: list[int]) -> int:
    """The entry of a process that was started by the template, or in a fresh interpreter.

    Args:
        payload: From `pack`.
        channel: To the parent.
        lifeline: Ends with the parent.
        fds: What the object refers to.

    Returns:
        The exit code.
    """
    try:
        process = unpack(payload, fds)
    except KeyboardInterrupt as error:  # the program tells of it
        _tell(channel, 1, FAILURE, _pack(error))
        return 1
    except BaseException as error:
        sys.excepthook(*sys.exc_info())
        _tell(channel, 1, FAILURE, _pack(error))
        return 1
    _reseed()
    return run(process, channel, lifeline)


def run(
    process: Any,
    channel: Channel,
    lifeline: int,
    *,
    forked: bool = False,
    mask: set[signal.Signals | int] | None = None,
) -> int:
    """Runs a `Process` object in this process, which is its own; gives the exit code.

    Args:
        process: The object.
        channel: To the parent.
        lifeline: Ends with the parent.
        forked: Whether this process is a copy of the parent.
        mask: The signals that are blocked while it runs; as now if None.
    """
    dumps = partial(passing.dumps_result, forked=forked)
    atexit.register(util._exit_function)  # type: ignore[attr-defined]  # noqa: SLF001
    wrapped = process.run
    # a Ctrl-C waits until it can be dealt with without a traceback
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    asked = before if mask is None else mask
    outcome = _Outcome(channel)

    def run_and_tell() -> None:
        try:
            tell_of_run()
        except KeyboardInterrupt as error:
            # told already, but for one that came between two lines
            outcome.tell(1, FAILURE, partial(_pack, error, dumps))
            raise SystemExit(outcome.code) from None  # the program tells of it, by one traceback

    def tell_of_run() -> None:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, asked)
            kind, data = _write_down(wrapped(), dumps)
            outcome.tell(0, kind, lambda: data)
        except SystemExit as stop:
            outcome.tell(_code_of(stop), NOTHING, bytes)
            raise
        except BaseException as error:
            outcome.tell(1, FAILURE, partial(_pack, error, dumps))
            raise

    process.__dict__["run"] = run_and_tell
    code: int = process._bootstrap(parent_sentinel=lifeline)  # noqa: SLF001
    return code


def _write_down(value: Any, dumps: Callable[[Any], bytes]) -> tuple[bytes, bytes]:
    try:
        return VALUE, dumps(value)
    except Exception as error:
        return UNSENDABLE, _pack(error)


class _Outcome:
    """How a process ends: told whole, and once.

    Attributes:
        code: What the process shall exit with; None until it was told.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.code: int | None = None

    def tell(self, code: int, kind: bytes, written: Callable[[], bytes]) -> None:
        """Delivers it, unless that was done: a Ctrl-C that comes meanwhile has nothing to end."""
        while self.code is None:  # a Ctrl-C may come just before it is made to wait
            with suppress(KeyboardInterrupt), signals.CtrlCLater():
                _tell(self._channel, code, kind, written())
                self.code = code


def _tell(channel: Channel, code: int, kind: bytes, data: bytes) -> None:
    """Delivers the outcome; a parent that is gone, or has closed its end, does not want it."""
    with suppress(OSError), channel:
        channel.send(number_message(OUTCOME, code) + kind + data)


def _pack(error: BaseException, dumps: Callable[[Any], bytes] = passing.dumps_result) -> bytes:
    failure = Failure.of(error, dumps=dumps, hidden=_OUR_FRAMES)
    return pickle.dumps(failure)


def _code_of(stop: SystemExit) -> int:
    if stop.code is None:
        return 0
    return stop.code if isinstance(stop.code, int) else 1


def _reseed() -> None:
    """Children of one template must not all draw the same numbers; `random` sees to it itself."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        with suppress(Exception):
            numpy_random.seed()
