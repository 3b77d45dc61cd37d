"""A worker's life: it reads tasks, does them one after the other, and leaves the results.

Rules:

1. Before it begins a task it says so in the shared memory; when it is done, the result is there
   first and the count after. Whatever kills it in between, the pool knows which task it was.
2. What a task raises, `SystemExit` and others of its kind too, is the task's result.
3. Whatever cannot be read or written is an error of its own task.
4. It ends when the pool's end of the channel is closed, and is killed with the pool's process.
"""

from __future__ import annotations

import atexit
import faulthandler
import pickle
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing import process as standard
from multiprocessing import util
from types import FrameType
from typing import Any, Final, NamedTuple

from manycore.base import passing, signals
from manycore.base.channel import Channel
from manycore.base.failures import Failure
from manycore.errors import TaskTimeout

from . import parcels, slate
from .slate import Slate

_OUR_FRAMES: Final = 1  # of a traceback: this module's, which tell the reader nothing


class Opening(NamedTuple):
    """What a worker is told at its birth.

    Attributes:
        number: Its number in the pool.
        name: What people see.
        initializer: What it calls first.
        initargs: With what.
    """

    number: int
    name: str
    initializer: Any
    initargs: tuple[Any, ...]


def live(payload: bytes, channel: Channel, lifeline: int, fds: list[int]) -> int:
    """The entry of a worker, in a process that the template has forked.

    Args:
        payload: The opening.
        channel: What the process was born with; the end of it is seen by others.
        lifeline: Ends with the pool's process.
        fds: The channel to the pool, the slate, a file for the stacks of crashes, and what the
            opening refers to.

    Returns:
        The exit code.
    """
    del channel, lifeline
    line, board, crashes, *rest = fds
    signal.signal(signal.SIGINT, signals.ignore)  # the program decides what Ctrl-C ends
    atexit.register(util._exit_function)  # type: ignore[attr-defined]  # noqa: SLF001
    with suppress(Exception):
        faulthandler.enable(open(crashes, "wb", buffering=0, closefd=False))  # noqa: SIM115
    worker = Worker(Channel.of_descriptor(line), Slate(board))
    with suppress(BrokenPipeError, EOFError):  # the pool is gone
        if not worker.begin(payload, rest):
            return 1
        worker.run()
    return 0


class Worker:
    """One worker, in its own process."""

    def __init__(self, channel: Channel, memory: Slate) -> None:
        self._channel = channel
        self._cells = memory.cells
        self._slots = memory.slots
        self._area = memory.area
        self._used = 0  # bytes of the area
        self._functions: dict[int, Any] = {}
        self._stash: deque[Any] = deque()
        self._timed = False

    def begin(self, payload: bytes, fds: list[int]) -> bool:
        """Becomes what the pool wants; False when that fails, and then it was told."""
        try:
            opening: Opening = passing.loads(payload, fds)
            standard.current_process().name = opening.name
            _reseed()
            if opening.initializer is not None:
                opening.initializer(*opening.initargs)
        except BaseException as error:
            self._channel.send(parcels.BROKEN + _pack(error))
            return False
        signal.signal(signal.SIGALRM, self._on_alarm)
        self._channel.send(parcels.READY)
        return True

    def run(self) -> None:
        """Does what comes, until the end comes."""
        while True:
            data, fds = self._stash.popleft() if self._stash else self._channel.receive()
            kind = data[:1]
            if kind == parcels.UNIFORM:
                self._do_uniform(data, fds)
            elif kind == parcels.SEPARATE:
                self._do_separate(data, fds)
            elif kind == parcels.FUNCTION:
                self._remember(data, fds)
            elif kind == parcels.FORGET:
                self._functions.clear()
            elif kind == parcels.END:
                return

    def _remember(self, data: bytes, fds: list[int]) -> None:
        size = parcels.FUNCTION_HEAD.size
        (number,) = parcels.FUNCTION_HEAD.unpack_from(data, 1)
        try:
            function = passing.loads(memoryview(data)[1 + size :], fds)
        except BaseException as error:
            function = _Unreadable(error)
        self._functions[number] = function

    def _do_uniform(self, data: bytes, fds: list[int]) -> None:
        first, number, timeout, star = parcels.UNIFORM_HEAD.unpack_from(data, 1)
        try:
            items = passing.loads(memoryview(data)[1 + parcels.UNIFORM_HEAD.size :], fds)
        except BaseException:
            self._do_separate(*self._ask_again(first))
            return
        function = self._functions[number]
        del data
        if timeout:
            calls: Iterable[Any] = items if star else zip(items)
            self._do_slowly(first, ((function, args, _NO_KWARGS, timeout) for args in calls))
        else:
            self._do_quickly(first, function, items, star=star)

    def _ask_again(self, first: int) -> Any:
        """Asks for a batch one by one; what comes before it waits."""
        self._channel.send(parcels.UNREADABLE + parcels.SEPARATE_HEAD.pack(first))
        while True:
            message = self._channel.receive()
            data = message.data
            if (
                data[:1] == parcels.SEPARATE
                and parcels.SEPARATE_HEAD.unpack_from(data, 1)[0] == first
            ):
                return message
            self._stash.append(message)

    def _do_separate(self, data: bytes, fds: list[int]) -> None:
        (first,) = parcels.SEPARATE_HEAD.unpack_from(data, 1)
        entries = pickle.loads(memoryview(data)[1 + parcels.SEPARATE_HEAD.size :])  # noqa: S301
        self._do_slowly(first, (self._read(entry, fds) for entry in entries))

    def _read(self, entry: tuple[int, bytes, float | None], fds: list[int]) -> Any:
        number, data, timeout = entry
        if number == parcels.FAILED:
            return _Packed(data), (), _NO_KWARGS, None
        try:
            if number == parcels.INSIDE:
                function, args, kwargs = passing.loads(data, fds)
            else:
                args, kwargs = passing.loads(data, fds)
                function = self._functions[number]
        except BaseException as error:
            return _Unreadable(error), (), _NO_KWARGS, None
        return function, args, kwargs, timeout

    def _do_quickly(self, first: int, function: Any, items: Iterable[Any], *, star: bool) -> None:
        """Does tasks that have no time limit. This loop is what a task costs."""
        if self._was_recalled(first):
            return
        cells, slots, keep = self._cells, self._slots, self._keep
        mask, largest = slate.MASK, slate.LARGEST
        number = cells[slate.DONE] = first
        clock = time.perf_counter
        began = clock()
        for number, item in enumerate(items, first + 1):  # used behind the loop
            cells[0] = number  # slate.BEGUN: the one before is done
            if cells[2] >= number:  # slate.RECALLED
                self._skip(number - 1)
                number -= 1  # noqa: PLW2901
                break
            try:
                value = function(*item) if star else function(item)
            except BaseException as error:
                self._fail(number - 1, error)
            else:
                if value is None:
                    continue  # the slot says so already
                if type(value) is int and 0 <= value < largest:
                    slots[(number - 1) & mask] = value << 3 | 1  # slate.NUMBER
                else:
                    keep(number - 1, value)
        cells[slate.DONE] = number
        self._answer(number - first, clock() - began)

    def _was_recalled(self, first: int) -> bool:
        """Whether nothing of a message may be begun; then it is answered, and no count moves.

        If the count of what is done moved on to this message, all that was recalled before it would
        seem to be done, and to have returned None.
        """
        if self._cells[slate.RECALLED] <= first:
            return False
        self._answer(0, 0.0)
        return True

    def _do_slowly(self, number: int, calls: Iterable[Any]) -> None:
        """Does tasks of which each may be another function, or have a time limit."""
        if self._was_recalled(number):
            return
        cells = self._cells
        first = cells[slate.DONE] = number
        began = time.perf_counter()
        for function, args, kwargs, timeout in calls:
            number += 1
            cells[slate.SINCE] = time.monotonic_ns() if timeout else 0
            cells[slate.BEGUN] = number
            if cells[slate.RECALLED] >= number:
                number -= 1
                self._skip(number)
                break
            try:
                if timeout:
                    value = self._call_timed(function, args, kwargs, timeout)
                else:
                    value = function(*args, **kwargs)
            except BaseException as error:
                self._fail(number - 1, error)
            else:
                self._keep(number - 1, value)
                del value
            del function, args, kwargs
        cells[slate.DONE] = number
        self._answer(number - first, time.perf_counter() - began)

    def _call_timed(self, function: Any, args: Any, kwargs: Any, timeout: float) -> Any:
        self._timed = True
        self._limit = timeout
        signal.setitimer(signal.ITIMER_REAL, timeout)
        try:
            return function(*args, **kwargs)
        finally:
            self._timed = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _on_alarm(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        if self._timed:  # otherwise the task has just ended
            self._timed = False
            raise TaskTimeout(self._limit)

    def _skip(self, number: int) -> None:
        self._channel.send(parcels.SKIPPED + parcels.SEPARATE_HEAD.pack(number))

    def _answer(self, count: int, seconds: float) -> None:
        self._channel.send(parcels.ANSWER + parcels.ANSWER_BODY.pack(count, seconds))

    def _keep(self, number: int, value: Any) -> None:
        """Leaves a result."""
        if value is None:
            return
        kind = type(value)
        if kind is int and 0 <= value < slate.LARGEST:
            cell = value << slate.KIND_BITS | slate.NUMBER
        elif kind is bool:
            cell = slate.TRUE if value else slate.FALSE
        else:
            try:
                data = _dumps(value)
            except BaseException as error:
                self._fail(number, error)
                return
            self._leave(number, slate.BYTES, data)
            return
        self._slots[number & slate.MASK] = cell

    def _fail(self, number: int, error: BaseException) -> None:
        data = error.data if isinstance(error, _PackedError) else _pack(error)
        self._leave(number, slate.FAILURE, data)

    def _leave(self, number: int, kind: int, data: bytes) -> None:
        size = len(data)
        if self._cells[slate.COLLECTED] >= number:
            self._used = 0  # all that is in the area was taken
        end = self._used + size
        if size > slate.INLINE or end > slate.AREA_BYTES:
            self._channel.send(parcels.BIG + parcels.BIG_HEAD.pack(number, kind) + data)
            cell = slate.MESSAGE
        else:
            self._area[self._used : end] = data
            where = self._used << slate.LENGTH_BITS | size
            cell = where << slate.KIND_BITS | kind
            self._used = end
        self._slots[number & slate.MASK] = cell


_NO_KWARGS: Final[dict[str, Any]] = {}


class _PackedError(Exception):
    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


class _Packed:
    """In the place of a function whose call could not be written."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __call__(self) -> None:
        raise _PackedError(self._data)


class _Unreadable:
    """In the place of a function that could not be read, or whose arguments could not be."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __call__(self, *_: Any, **__: Any) -> None:
        raise self._error


def _dumps(value: Any) -> bytes:
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:  # by value it may work, or say better why not
        return passing.dumps_result(value)


def _pack(error: BaseException) -> bytes:
    return pickle.dumps(Failure.of(error, dumps=passing.dumps_result, hidden=_OUR_FRAMES))


def _reseed() -> None:
    """Children of one template must not all draw the same numbers; `random` sees to it itself."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        with suppress(Exception):
            numpy_random.seed()
