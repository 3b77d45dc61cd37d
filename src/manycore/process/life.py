"""A process's own life: it becomes the `Process` object that its parent sent, and runs it."""

from __future__ import annotations

import atexit
import pickle
import sys
import traceback
from contextlib import suppress
from multiprocessing import process as standard
from multiprocessing import util
from typing import Any, Final

from manycore.base import birth, identity, passing
from manycore.base.birth import OUTCOME, number_message
from manycore.base.channel import Channel
from manycore.base.failures import Failure

from .outcome import FAILURE, NOTHING, UNSENDABLE, VALUE

# The first byte of a payload.
WITH_TRACKER: Final = b"t"
WITHOUT_TRACKER: Final = b"-"

#: how many frames of a traceback are this module's: they tell the reader nothing
_OUR_FRAMES = 1


def live(payload: bytes, channel: Channel, lifeline: int, fds: list[int]) -> int:
    """The entry of a process that was started by the template, or in a fresh interpreter.

    Args:
        payload: A byte that says whether the resource tracker's descriptor is the last one, and the
            `Process` object.
        channel: To the parent.
        lifeline: Ends with the parent.
        fds: What the object refers to.

    Returns:
        The exit code.
    """
    try:
        if payload[:1] == WITH_TRACKER:
            _share_resource_tracker(fds.pop())
        process = _rebuild(memoryview(payload)[1:], fds)
    except BaseException as error:
        traceback.print_exc()
        _tell(channel, 1, FAILURE, _pack(error))
        return 1
    _reseed()
    return run(process, channel, lifeline)


def run(process: Any, channel: Channel, lifeline: int) -> int:
    """Runs a `Process` object in this process, which is its own; gives the exit code."""
    identity.announce("process", process.name, parent=process._parent_pid, daemon=process.daemon)  # noqa: SLF001
    atexit.register(util._exit_function)  # type: ignore[attr-defined]  # noqa: SLF001
    wrapped = process.run

    def run_and_tell() -> None:
        try:
            value = wrapped()
        except SystemExit as stop:
            _tell(channel, _code_of(stop), NOTHING, b"")
            raise
        except KeyboardInterrupt as error:
            _tell(channel, 1, FAILURE, _pack(error))
            raise SystemExit(1) from None  # the program tells of it; one traceback is enough
        except BaseException as error:
            _tell(channel, 1, FAILURE, _pack(error))
            raise
        try:
            kind, data = VALUE, passing.dumps_result(value)
        except Exception as error:
            kind, data = UNSENDABLE, _pack(error)
        del value
        _tell(channel, 0, kind, data)

    process.__dict__["run"] = run_and_tell
    code: int = process._bootstrap(parent_sentinel=lifeline)  # noqa: SLF001
    return code


def _rebuild(data: memoryview, fds: list[int]) -> Any:
    # the standard library's spawn looks here too before it starts a process
    current = standard.current_process()
    current._inheriting = True  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        with birth.importing():
            return passing.loads(data, fds)
    finally:
        del current._inheriting  # type: ignore[attr-defined]  # noqa: SLF001


def _tell(channel: Channel, code: int, kind: bytes, data: bytes) -> None:
    """Delivers the outcome; a parent that is gone, or has closed its end, does not want it."""
    with suppress(OSError), channel:
        channel.send(number_message(OUTCOME, code) + kind + data)


def _pack(error: BaseException) -> bytes:
    failure = Failure.of(error, dumps=passing.dumps_result, hidden=_OUR_FRAMES)
    return pickle.dumps(failure)


def _code_of(stop: SystemExit) -> int:
    if stop.code is None:
        return 0
    return stop.code if isinstance(stop.code, int) else 1


def _share_resource_tracker(fd: int) -> None:
    """What this process registers with the parent's tracker outlives it, as under `spawn`."""
    from multiprocessing import resource_tracker

    resource_tracker._resource_tracker._fd = fd  # type: ignore[attr-defined]  # noqa: SLF001


def _reseed() -> None:
    """Children of one template must not all draw the same numbers; `random` sees to it itself."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        with suppress(Exception):
            numpy_random.seed()
