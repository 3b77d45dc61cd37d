"""The pool's view of one worker: its process, its channel, and the memory that both share."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

from manycore.base import life, oom, passing, template
from manycore.base.birth import Role
from manycore.base.channel import Channel
from manycore.base.failures import Failure
from manycore.base.lifetime import exit_in_words
from manycore.base.segments import Segments, anonymous_file

from . import slate, wire
from .freight import Delivery, Parcel, Unloader
from .functions import Functions
from .future import Failed
from .lost import TaskLost
from .pace import WINDOW
from .parcels import Sender
from .slate import Slate
from .worker import Opening

_ENTRY: Final = "manycore.pool.worker:live"
_MODULES: Final = ("manycore.pool.worker", "manycore.pool.blas")
_MAPPING: Final = "manycore.base.mapping"
_NONES: Final = slate.NONE.to_bytes(8, sys.byteorder, signed=True) * WINDOW
_PAGE: Final = resource.getpagesize()
_BACKLOG: Final = 64  # parcels that wait for room in the channel: more is a worker that is stuck


class WorkerHandle:
    """One worker.

    Attributes:
        number: Its number in the pool.
        pid: Its process id.
        sender: Writes what it is sent.
        done: How many tasks' results were taken.
        some_failed: Whether there is a failure among what was collected last.
        overtime: Whether it was killed because its task took too long.
        unwanted: Whether it was killed because its task was cancelled.
        boot_error: What its initializer raised.
        tasks: How many tasks it has done.
        seconds: How long they took together.
        unloader: Opens what it sends.
        result_bytes: How many bytes of results came as messages since this was last set to 0.
    """

    def __init__(
        self,
        number: int,
        name: str,
        functions: Functions,
        segments: Segments,
        initializer: Any,
        initargs: tuple[Any, ...],
        cpus: int,
    ) -> None:
        """Starts it; returns when it exists.

        Raises:
            OSError: When there is no room for a process.
            BootError: When no template lives long enough.
            SendError: When the initializer cannot be sent.
        """
        cargo = passing.Cargo()
        payload = passing.dumps(Opening(number, name, initializer, initargs, cpus), cargo)
        modules = [*_MODULES]
        if passing.needs_cloudpickle(payload):
            modules.append("cloudpickle")
        if _MAPPING in sys.modules:  # what is big travels in this program
            modules.append(_MAPPING)
        self.memory = Slate.create()
        self._crashes = anonymous_file("crash")
        self.channel, theirs = Channel.pair()
        try:
            with theirs:
                fds = [theirs.fileno(), self.memory.fd, self._crashes, *cargo.fds]
                self._child = template.fork(
                    _ENTRY,
                    payload,
                    role=Role("worker", name, os.getpid(), True),
                    fds=fds,
                    modules=tuple(modules),
                )
        except BaseException:
            self.channel.close()
            self.memory.close()
            os.close(self._crashes)
            raise
        self.number = number
        self.name = name
        self.pid = self._child.pid
        self.pidfd = self._child.pidfd
        self.sender = Sender(functions, segments, number)
        self.done = 0
        self.overtime = False
        self.unwanted = False
        self.boot_error: BaseException | None = None
        self.tasks = 0
        self.some_failed = False
        self.seconds = 0.0
        self._outgoing: deque[Parcel] = deque()
        self.unloader = Unloader()
        self.result_bytes = 0
        self._big: dict[int, tuple[int, Delivery]] = {}
        self._kills = oom.kills()

    @property
    def begun(self) -> int:
        """How many tasks it has begun."""
        return self.memory.begun(self.done)

    @property
    def running(self) -> float:
        """Seconds that its running task has been running, if that has a time limit."""
        cells = self.memory.cells
        since = cells[slate.SINCE]
        if not since or cells[slate.DONE] == cells[slate.END]:
            return 0.0
        return (time.monotonic_ns() - since) / 1e9

    def is_stopped(self) -> bool:
        """Whether it is held by a signal, or a debugger."""
        return life.state(self.pid) in {"stopped", "held by a debugger"}

    def send(self, parcels: Iterable[Parcel]) -> None:
        """Sends messages, or keeps them until there is room. Their descriptors are closed here."""
        self._outgoing.extend(self.notices())
        self._outgoing.extend(parcels)
        self.flush()

    def notices(self) -> list[Parcel]:
        """Writes what the worker is to be told before anything else: which files are its again."""
        released = self.unloader.released
        numbers = [released.popleft() for _ in range(len(released))]
        return [Parcel(wire.RETURNED + wire.numbers(numbers))] if numbers else []

    @property
    def has_sent(self) -> bool:
        """Whether all that is for it was sent."""
        return not self._outgoing

    def flush(self) -> bool:
        """Sends what waits; False when there is still no room for all of it."""
        while self._outgoing:
            parcel = self._outgoing[0]
            try:
                self.channel.send(parcel.data, parcel.fds, wait=False)
            except BlockingIOError:
                return False
            except OSError:  # it has ended, and that is told by its pidfd
                self._drop_outgoing()
                return True
            _close(self._outgoing.popleft())
        return True

    def recall(self, below: int) -> None:
        """Makes it begin no task below this number any more."""
        self.memory.cells[slate.RECALLED] = below
        self.memory.halted[0] = 1

    def collect(self) -> list[Any]:
        """Takes the results that are there and were not taken, in order; says if some failed."""
        self.some_failed = False
        start, done = self.done, self.memory.done(self.done)
        if done <= start:
            return []
        self.done = done
        if done == start + 1:
            cell = self.memory.take_one(start)
            values = [cell if cell > -slate.LARGEST else self._value(start, cell)]
        else:
            values = self._values(self.memory.take(start, done), start)
        self.memory.cells[slate.COLLECTED] = done
        self.tasks += len(values)
        return values

    def _values(self, slots: bytes, start: int) -> list[Any]:
        """Reads slots; what most hold, nothing or numbers, is seen at once."""
        if _NONES.startswith(slots):
            return [None] * (len(slots) >> 3)
        cells: list[Any] = memoryview(slots).cast("q").tolist()
        lowest = -slate.LARGEST
        if min(cells) > lowest:
            return cells
        return [
            cell if cell > lowest else self._value(number, cell)
            for number, cell in enumerate(cells, start)
        ]

    def move_to(self, number: int) -> None:
        """Numbers up to this one were recalled: they will have no results."""
        self.done = max(self.done, number)

    def _value(self, number: int, cell: int) -> Any:
        if cell in slate.CONSTANTS:
            return slate.CONSTANTS[cell]
        kind, rest = slate.opened(cell)
        if kind == slate.MESSAGE:
            while number not in self._big:  # it was sent before the slot was written
                self.take_big(self.unloader.receive(self.channel, wait=False))
            value = _read(*self._big.pop(number))
        else:
            where = rest >> slate.LENGTH_BITS
            data = bytes(self.memory.area[where : where + (rest & (1 << slate.LENGTH_BITS) - 1)])
            value = _load(kind, data, ())
        if type(value) is Failed:
            self.some_failed = True
        return value

    def take_big(self, delivery: Delivery) -> None:
        """Keeps a result that came as a message."""
        number, kind = wire.RESULT_HEAD.unpack_from(delivery.data, 1)
        self._big[number] = (kind, delivery)
        self.result_bytes += len(delivery.body(0)) + sum(map(len, delivery.buffers))

    def kill(self) -> None:
        """Ends it and what it started."""
        self._child.send_signal(signal.SIGKILL)

    def conclude(self, lot: Any, *, begun: bool) -> TaskLost:
        """Makes up the error of the task that ended with it. Only after its death."""
        code = self._child.wait()
        reason = self._reason(code)
        exit_words = "ended" if code is None else exit_in_words(code).removeprefix("was ")
        return TaskLost(
            self.pid,
            exit_words,
            self.name,
            reason,
            code,
            task=lot.names(),
            may_have_run=begun,
            stack=self._stack(),
            peak_memory=self.memory.cells[slate.PEAK],
        )

    def conclude_boot(self) -> TaskLost:
        """Makes up the error of a worker that died before it was ready."""
        code = self._child.wait()
        exit_words = "ended" if code is None else exit_in_words(code).removeprefix("was ")
        reason = self._reason(code) or "before it was ready, and so did those before it"
        return TaskLost(self.pid, exit_words, self.name, reason, code, stack=self._stack())

    def _reason(self, code: int | None) -> str:
        return "" if code is None else oom.verdict(code, self._kills)

    def _stack(self) -> str:
        os.lseek(self._crashes, 0, os.SEEK_SET)
        return os.read(self._crashes, 1 << 16).decode(errors="replace")

    def memory_used(self) -> int:
        """Bytes that it holds now; 0 when it has ended."""
        try:
            with open(f"/proc/{self.pid}/statm", "rb", buffering=0) as file:
                return int(file.read(200).split()[1]) * _PAGE
        except (OSError, IndexError, ValueError):
            return 0

    def close(self) -> None:
        """Lets go of everything; if it is alive, it ends."""
        self._drop_outgoing()
        self.channel.close()
        self._child.close()
        self.memory.close()
        if self._crashes >= 0:
            os.close(self._crashes)
            self._crashes = -1

    def _drop_outgoing(self) -> None:
        while self._outgoing:
            _close(self._outgoing.popleft())


def _close(parcel: Parcel) -> None:
    for fd in parcel.fds:
        os.close(fd)


def _read(kind: int, delivery: Delivery) -> Any:
    if delivery.problem is not None:
        return Failed(delivery.problem)
    return _load(kind, delivery.body(1 + wire.RESULT_HEAD.size), delivery.buffers)


def _load(kind: int, data: bytes | memoryview, buffers: Sequence[memoryview]) -> Any:
    """Reads a result; one that cannot be read is an error of its task."""
    try:
        value = pickle.loads(data, buffers=buffers)  # noqa: S301  # our worker's
    except BaseException as error:
        return Failed(error)
    if kind == slate.FAILURE:
        failure: Failure = value
        return Failed(failure.rebuild())
    return value
