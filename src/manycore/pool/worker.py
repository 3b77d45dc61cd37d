"""A worker's life: it reads tasks, does them one after the other, and leaves the results.

Rules:

1. Before it begins a batch it says so in the shared memory, and each task's result is there before
   the next one begins. Whatever kills it in between, the pool knows which task it was.
2. What a task raises, `SystemExit` and others of its kind too, is the task's result.
3. Whatever cannot be read or written is an error of its own task.
4. It ends when the pool's end of the channel is closed, and is killed with the pool's process.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import pickle
import resource
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import repeat
from multiprocessing import process as standard
from multiprocessing import util
from typing import Any, Final, NamedTuple

from manycore.base import passing, signals
from manycore.base.channel import Channel

from . import shared, slate, wire
from .freight import Delivery, Unloader
from .outbox import Outbox, pack_error
from .slate import Slate
from .standins import Alarm, Packed, Unreadable


class Opening(NamedTuple):
    """What a worker is told at its birth.

    Attributes:
        number: Its number in the pool.
        name: What people see.
        initializer: What it calls first.
        initargs: With what.
        cpus: Its share of the pool's CPUs: what `cpu_count` gives in it, and in what it starts.
    """

    number: int
    name: str
    initializer: Any
    initargs: tuple[Any, ...]
    cpus: int


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
        self._halted = memory.halted
        self._outbox = Outbox(channel, memory)
        self._unloader = Unloader()
        self._functions: dict[int, Any] = {}
        self._stash: deque[Delivery] = deque()
        self._alarm = Alarm()
        self._unweighed = 0.0  # seconds of work since its memory was looked at

    def begin(self, payload: bytes, fds: list[int]) -> bool:
        """Becomes what the pool wants; False when that fails, and then it was told."""
        try:
            opening: Opening = passing.loads(payload, fds)
            standard.current_process().name = opening.name
            os.environ["MANYCORE_CPUS"] = str(opening.cpus)
            _reseed()
            if opening.initializer is not None:
                opening.initializer(*opening.initargs)
        except BaseException as error:
            self._channel.send(wire.BROKEN + pack_error(error))
            return False
        self._alarm.install()
        self._cells[slate.PEAK] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        self._channel.send(wire.READY)
        return True

    def run(self) -> None:
        """Does what comes, until the end comes."""
        while True:
            delivery = self._stash.popleft() if self._stash else self._receive()
            kind = delivery.data[:1]
            if delivery.problem is not None:
                self._refuse(delivery.data, delivery.problem)
            elif kind == wire.UNIFORM:
                self._do_uniform(delivery)
            elif kind == wire.SEPARATE:
                self._do_separate(delivery)
            elif kind == wire.END:
                return
            else:
                self._take_note(kind, delivery)

    def _receive(self) -> Delivery:
        return self._unloader.receive(self._channel)

    def _refuse(self, data: bytes, problem: OSError) -> None:
        """Makes a message that did not fit an error of those whom it concerns."""
        kind = data[:1]
        if kind == wire.FUNCTION:
            (number,) = wire.NUMBER.unpack_from(data, 1)
            self._functions[number] = Unreadable(problem)
        elif kind in {wire.UNIFORM, wire.SEPARATE}:
            first, count = wire.SEPARATE_HEAD.unpack_from(data, 1)  # both begin with that
            call = (Unreadable(problem), (), _NO_KWARGS, None)
            self._do_slowly(first, count, repeat(call, count))
            self._answer()

    def _take_note(self, kind: bytes, delivery: Delivery) -> None:
        data = delivery.data
        if kind == wire.FUNCTION:
            (number,) = wire.NUMBER.unpack_from(data, 1)
            body = delivery.body(1 + wire.NUMBER.size)
            try:
                function = passing.loads(body, delivery.fds, delivery.buffers)
            except BaseException as error:
                function = Unreadable(error)
            self._functions[number] = function
        elif kind == wire.SHARED:
            shared.remember(wire.NUMBER.unpack_from(data, 1)[0], delivery)
        elif kind == wire.FORGET:
            self._forget(pickle.loads(data[1:]))  # noqa: S301  # our pool's
        elif kind == wire.RETURNED:
            for number in wire.read_numbers(data, 1):
                self._outbox.segments.give_back(number)

    def _forget(self, numbers: tuple[list[int], list[int]] | None) -> None:
        if numbers is None:
            self._functions.clear()
            return
        functions, files = numbers
        for number in functions:
            self._functions.pop(number, None)
        for number in files:
            self._unloader.forget(number)
            shared.forget(number)

    def _do_uniform(self, delivery: Delivery) -> None:
        first, count, number, timeout, star = wire.UNIFORM_HEAD.unpack_from(delivery.data, 1)
        try:
            body = delivery.body(1 + wire.UNIFORM_HEAD.size)
            items = passing.loads(body, delivery.fds, delivery.buffers)
            function = self._functions[number]
        except BaseException:
            del delivery
            self._stash.appendleft(self._ask_again(first))
            return
        del delivery, body
        if timeout:
            calls: Iterable[Any] = items if star else zip(items)
            self._do_slowly(first, count, ((function, args, _NO_KWARGS, timeout) for args in calls))
        else:
            self._do_quickly(first, count, function, items, star=star)
        del items
        self._answer()

    def _ask_again(self, first: int) -> Delivery:
        """Asks for a batch one by one; what comes before it waits."""
        self._channel.send(wire.UNREADABLE + wire.NUMBER.pack(first))
        while True:
            delivery = self._receive()
            if (
                delivery.data[:1] == wire.SEPARATE
                and wire.SEPARATE_HEAD.unpack_from(delivery.data, 1)[0] == first
            ):
                return delivery
            self._stash.append(delivery)

    def _do_separate(self, delivery: Delivery) -> None:
        first, count = wire.SEPARATE_HEAD.unpack_from(delivery.data, 1)
        body = delivery.body(1 + wire.SEPARATE_HEAD.size)
        entries = pickle.loads(body, buffers=delivery.buffers)  # noqa: S301  # our pool's
        fds = delivery.fds
        del delivery, body
        entries.reverse()
        self._do_slowly(first, count, (self._read(entries.pop(), fds) for _ in range(count)))
        self._answer()

    def _read(self, entry: tuple[int, Any, list[Any], float | None], fds: list[int]) -> Any:
        number, data, buffers, timeout = entry
        if number == wire.FAILED:
            return Packed(data), (), _NO_KWARGS, None
        try:
            if number == wire.INSIDE:
                function, args, kwargs = passing.loads(data, fds, buffers)
            else:
                args, kwargs = passing.loads(data, fds, buffers)
                function = self._functions[number]
        except BaseException as error:
            return Unreadable(error), (), _NO_KWARGS, None
        return function, args, kwargs, timeout

    def _do_quickly(
        self, first: int, count: int, function: Any, items: Iterable[Any], *, star: bool
    ) -> None:
        """Does tasks that have no time limit."""
        if self._was_recalled(first):
            return
        self._open(first, count)
        clock = time.perf_counter
        began = clock()
        number, rest = first, iter(items)
        while number < first + count:
            place = number & slate.MASK
            many = min(first + count - number, slate.MASK + 1 - place)  # to the end of the slots
            done = self._do_some(
                range(place, place + many), number - place, function, rest, star=star
            )
            number += done
            if done < many:
                break
        self._close(first, number, clock() - began)

    def _do_some(
        self, places: range, offset: int, function: Any, items: Iterator[Any], *, star: bool
    ) -> int:
        """Does tasks whose slots are in a row; gives how many. This loop is what a task costs."""
        slots, halted = self._slots, self._halted
        lowest, largest, none, zero = -slate.LARGEST, slate.LARGEST, slate.NONE, slate.ZERO
        for place, item in zip(places, items):  # noqa: B905  # the first to end is the range
            if halted[0] and self._is_recalled(place + offset):
                return place - places.start
            try:
                value = function(*item) if star else function(item)
            except BaseException as error:
                self._outbox.fail(place + offset, error)
            else:
                if value is None:
                    slots[place] = none
                elif type(value) is int and lowest < value < largest:
                    slots[place] = value or zero
                else:
                    self._outbox.keep(place + offset, value)
        return len(places)

    def _do_slowly(self, first: int, count: int, calls: Iterable[Any]) -> None:
        """Does tasks of which each may be another function, or have a time limit."""
        if self._was_recalled(first) or not count:
            return
        cells = self._cells
        began = time.perf_counter()
        number = first
        for function, args, kwargs, timeout in calls:
            if number == first:  # it is only now that the first one was read
                self._open(first, count)
            if self._is_recalled(number):
                break
            cells[slate.SINCE] = time.monotonic_ns() if timeout else 0
            try:
                if timeout:
                    value = self._alarm.call(function, args, kwargs, timeout)
                else:
                    value = function(*args, **kwargs)
            except BaseException as error:
                self._outbox.fail(number, error)
            else:
                self._outbox.keep(number, value)
                del value
            del function, args, kwargs
            number += 1
        self._close(first, number, time.perf_counter() - began)

    def _open(self, first: int, count: int) -> None:
        """Says that it begins a batch, and the first task of it."""
        self._cells[slate.SINCE] = 0
        self._cells[slate.FIRST] = first
        self._cells[slate.END] = first + count

    def _close(self, first: int, end: int, seconds: float) -> None:
        """Says that it is done with a batch, up to where it was recalled."""
        self._cells[slate.END] = end
        self._cells[slate.DONE] = end
        self._measured = end - first, seconds

    def _was_recalled(self, first: int) -> bool:
        """Whether nothing of a message may be begun; then no count moves.

        If the count of what is done moved on to this message, all that was recalled before it would
        seem to be done.
        """
        self._measured = 0, 0.0
        return bool(self._cells[slate.RECALLED] > first)

    def _is_recalled(self, number: int) -> bool:
        """Whether a task must not be begun; then it says so."""
        if self._cells[slate.RECALLED] <= number:
            return False
        self._channel.send(wire.SKIPPED + wire.NUMBER.pack(number))
        return True

    def _answer(self) -> None:
        """Says that it is through with a message, and what it does not look at any more."""
        count, seconds = self._measured
        self._unweighed += seconds
        if count != 1 or self._unweighed > _WEIGH_AFTER:
            self._unweighed = 0.0
            self._cells[slate.PEAK] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        released = self._unloader.released
        numbers = [released.popleft() for _ in range(len(released))]
        answer = wire.ANSWER + wire.ANSWER_BODY.pack(count, seconds)
        self._channel.send(answer + wire.numbers(numbers) if numbers else answer)


_NO_KWARGS: Final[dict[str, Any]] = {}
_WEIGH_AFTER: Final = 0.0001  # seconds of single calls: less work than that needs no new memory


def _reseed() -> None:
    """Children of one template must not all draw the same numbers; `random` sees to it itself."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        with suppress(Exception):
            numpy_random.seed()
