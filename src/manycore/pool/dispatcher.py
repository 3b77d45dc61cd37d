"""The pool's dispatcher: one thread that does what the rules say.

Rules:

1. Every worker, channel and lot is touched by this thread alone. Others append to the queue, set a
   flag, and wake it if it sleeps and has something to do.
2. It never waits for a worker: sending does not block, and death is a descriptor in the same wait.
"""

from __future__ import annotations

import pickle
import select
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from manycore.base import kernel
from manycore.base.conditions import Event
from manycore.base.failures import Failure
from manycore.base.segments import Segments
from manycore.errors import TaskTimeout

from . import actions, events, wire
from .bell import Bell
from .freight import Parcel
from .functions import Functions
from .future import Failed, Future
from .handle import WorkerHandle
from .ledger import Ledger
from .loans import Loan, Loans
from .lots import TaskQueue
from .rules import Schedule
from .shared import Shelf

kernel.require_pidfd("manycore's pool of processes")

_READ: Final = select.EPOLLIN
_LONGEST: Final = 86_400.0  # seconds: epoll counts milliseconds, and 25 days of them are too many


class Dispatcher:
    """What the thread does.

    Args:
        queue: Where tasks wait.
        bell: What wakes it.
        schedule: What decides.
        hire: Starts a worker under a number.
        memory_per_worker: Bytes; a worker that holds more after a batch is replaced.
        ledger: Where it writes down how the workers spend their time.

    Attributes:
        handles: The workers that there are.
        requests: What other threads want it to do.
        broken: What keeps workers from beginning.
        over: Set when all workers have ended.
        shelf: What workers keep.
    """

    def __init__(
        self,
        queue: TaskQueue,
        bell: Bell,
        schedule: Schedule,
        hire: Callable[[int, Functions, Segments], WorkerHandle],
        memory_per_worker: int | None,
        ledger: Ledger,
    ) -> None:
        self.ledger = ledger
        self.handles: dict[int, WorkerHandle] = {}
        self.requests: deque[Callable[[], None]] = deque()
        self.broken: BaseException | None = None
        self.over = Event()
        self._queue = queue
        self._bell = bell
        self._schedule = schedule
        self._hire = hire
        self._memory_per_worker = memory_per_worker
        self.shelf = Shelf()
        self._functions = Functions(self.shelf)
        self.loans = Loans(self._functions, queue, bell)
        self._segments = Segments("tasks")
        self._events: deque[events.Event] = deque()
        self._boot_error: BaseException | None = None
        self._stopping = False
        self._poller = select.epoll()
        self._poller.register(bell.fd, _READ)
        self._sources: dict[int, tuple[int, bool]] = {}  # descriptor: worker, is it its pidfd
        self._do_by_kind: dict[type, Callable[[Any], None]] = {
            actions.Start: self._start,
            actions.Send: self._send,
            actions.Look: self._look,
            actions.Recall: lambda action: self.handles[action.worker].recall(action.below),
            actions.Lose: self._lose,
            actions.Retire: self._retire,
            actions.Kill: self._kill,
            actions.GiveUp: self._give_up,
            actions.Over: lambda _: self.over.set(),
        }

    def run(self) -> None:
        """The thread's life: until all workers have ended."""
        try:
            self._handle(events.Begin())
            while not self.over.is_set():
                self._turn()
        except BaseException as error:  # a fault of ours must not leave anybody waiting
            self.broken = error
            self._queue.closed = True
            self._queue.fail_all(error)
            for loan in self.loans.out:
                self._take_back(loan, by_force=True)
            for desk in self._schedule.desks.values():
                for batch in desk.batches:
                    batch.lot.deliver([Failed(error)] * len(batch.lot), deque(), failed=True)
            raise
        finally:
            self._clean_up()

    # What other threads ask for.

    def close(self) -> None:
        """Nothing more will be queued."""
        self._events.append(events.CloseAsked())

    def stop(self) -> None:
        """All is to end now."""
        self._stopping = True
        self._queue.cancel_all()
        self._events.append(events.StopAsked())

    def end_running(self, future: Future) -> None:
        """Ends a call, and the worker that runs it."""
        for worker, desk in self._schedule.desks.items():
            for batch in desk.batches:
                futures = getattr(batch.lot, "futures", ())
                if future in futures:
                    self._end_one(worker, batch.first + futures.index(future), future)
                    return

    def _end_one(self, worker: int, number: int, future: Future) -> None:
        handle = self.handles[worker]
        if handle.begun > number:
            self._collect(handle)
            if not future.done():
                handle.unwanted = True
                self._handle(events.Unwanted(worker))
        else:
            future.end_cancelled()

    # A turn.

    def _turn(self) -> None:
        ready = self._wait()
        self._bell.wanted = False
        self._take_back_what_is_free()
        died = []
        for fd, _ in ready:
            if fd == self._bell.fd:
                self._bell.silence()
                continue
            worker, is_pidfd = self._sources.get(fd, (-1, False))
            if is_pidfd:
                died.append(worker)
            elif worker in self.handles:
                self._receive(self.handles[worker])
        while self.requests:
            self.requests.popleft()()
        if self.shelf.gone or self._functions.gone:
            self._forget()
        for worker in died:
            self._bury(worker)
        self._settle()
        self._handle(events.TimePassed())
        while self._events:  # what was done has made them
            self._settle()
            self._handle(events.TimePassed())

    def _forget(self) -> None:
        """Workers need not keep any more what nobody here has."""
        functions, files = self._functions.gone, self.shelf.gone
        numbers = [functions.popleft() for _ in range(len(functions))]
        kept = [files.popleft() for _ in range(len(files))]
        for handle in self.handles.values():
            handle.send(handle.sender.forget(numbers, kept))

    def _settle(self) -> None:
        while self._events:
            self._handle(self._events.popleft())

    def _wait(self) -> list[tuple[int, int]]:
        schedule = self._schedule
        if self.loans.missed and not self._queue.waiting:
            self._lend()
        wants = schedule.wants_tasks
        if not wants or not self._queue.waiting:
            due = schedule.next_look()
            timeout = -1.0 if due is None else min(max(0.0, due - time.monotonic()), _LONGEST)
            self._bell.wanted = wants
            if self.loans.is_any_free:  # after the line above: who ends a call sets it, too
                self._bell.wanted = wants = True
            if not (wants and self._queue.waiting) and not (self.requests or self._events):
                # epoll counts in milliseconds, and rounds down
                return self._poller.poll(timeout + 0.0009 if timeout > 0 else timeout)
        return self._poller.poll(0)

    def _handle(self, event: events.Event) -> None:
        now = time.monotonic()
        if type(event) is not events.TimePassed:
            self.ledger.note(event, queued=bool(self._queue.waiting), now=now)
        for action in self._schedule.handle(event, now):
            self._do_by_kind[type(action)](action)
        if self._stopping and self._queue.waiting:
            self._queue.cancel_all()

    def _receive(self, handle: WorkerHandle) -> None:
        worker = handle.number
        desk = self._schedule.desks[worker]
        while not desk.lent:  # an answer may lead to that, and then somebody else listens
            try:
                delivery = handle.unloader.receive(handle.channel, wait=False)
            except BlockingIOError:
                break
            except (EOFError, OSError):
                self._forget_source(handle.channel.fileno())
                break
            data = delivery.data
            kind = data[:1]
            if kind == wire.ANSWER:
                self._take_answer(handle, data)
            elif kind == wire.RESULT:
                handle.take_big(delivery)
            elif kind == wire.READY:
                self._events.append(events.Ready(worker))
            elif kind == wire.SKIPPED:
                (number,) = wire.NUMBER.unpack_from(data, 1)
                self._collect(handle)
                self._handle(events.Skipped(worker, number))
            elif kind == wire.UNREADABLE:
                self._send_again(handle, *wire.NUMBER.unpack_from(data, 1))
            elif kind == wire.BROKEN:
                failure: Failure = pickle.loads(delivery.body(1))  # noqa: S301  # our worker's
                handle.boot_error = failure.rebuild()
        handle.flush()

    def _take_answer(self, handle: WorkerHandle, data: bytes) -> None:
        count, seconds = wire.ANSWER_BODY.unpack_from(data, 1)
        handle.seconds += seconds
        size, handle.result_bytes = handle.result_bytes, 0
        answered = events.Answered(handle.number, count, seconds, size)
        if self.loans.missed:
            self._collect(handle, answered)
        else:
            self._collect(handle)
            self._events.append(answered)
        for number in wire.read_numbers(data, 1 + wire.ANSWER_BODY.size):
            self._segments.give_back(number)
        self._weigh(handle)

    def _collect(self, handle: WorkerHandle, answered: events.Answered | None = None) -> None:
        """Takes results and gives them to whom they belong.

        Args:
            handle: Whose.
            answered: What is to be handled between, so that the worker can be lent at once to whom
                a result wakes up.
        """
        desk = self._schedule.desks[handle.number]
        if desk.batches:
            handle.move_to(desk.batches[0].first)
        began = time.monotonic()
        values = handle.collect()
        lots = self._schedule.done(handle.number, handle.done) if values else []
        if answered is not None:
            self._handle(answered)
            self._lend()
        if not values:
            return
        ledger = self.ledger
        ledger.tasks += len(values)  # first: whoever has a result may look at the figures
        if handle.some_failed:
            ledger.failed += sum(type(value) is Failed for value in values)
        retry: deque[Any] = deque()
        at = 0
        for lot in lots:
            count = len(lot)
            part = values if count == len(values) else values[at : at + count]
            lot.deliver(part, retry, failed=handle.some_failed)
            at += count
        ledger.collecting += time.monotonic() - began
        ledger.retried += len(retry)
        self._queue.waiting.extendleft(retry)

    def _weigh(self, handle: WorkerHandle) -> None:
        limit = self._memory_per_worker
        if limit is not None and handle.memory_used() > limit:
            self._events.append(events.Full(handle.number))

    def _bury(self, worker: int) -> None:
        """A worker has ended."""
        handle = self.handles[worker]
        for loan in self.loans.out:
            if loan.handle is handle:
                self._take_back(loan, by_force=True)
        self._receive(handle)
        self._settle()
        self._collect(handle)
        for fd in (handle.pidfd, handle.channel.fileno()):
            self._forget_source(fd)
        self._handle(events.Died(worker, handle.begun, handle.boot_error is not None))
        self.handles.pop(worker).close()
        self._segments.lose(worker)

    def _listen(self, fd: int, worker: int, *, is_pidfd: bool = False) -> None:
        self._sources[fd] = (worker, is_pidfd)
        self._poller.register(fd, _READ)

    def _forget_source(self, fd: int) -> None:
        if self._sources.pop(fd, None) is not None:
            self._poller.unregister(fd)

    # Loans.

    def _lend(self) -> None:
        """Lends all workers that have nothing to do."""
        if self._memory_per_worker is not None or self.requests or self._events:
            return
        lent = []
        for worker, handle in self.handles.items():
            if handle.has_sent and self._schedule.lend(worker):
                handle.move_to(self._schedule.desks[worker].next)
                self._forget_source(handle.channel.fileno())
                lent.append(Loan(handle, self.ledger.alone))
        self.loans.out += tuple(lent)
        self.loans.missed = not lent

    def _take_back_what_is_free(self) -> None:
        """Has the workers that are not used, when there is anything to do besides listening."""
        if self._queue.waiting or self._queue.closed or self.requests or self._events:
            for loan in self.loans.out:
                self._take_back(loan)

    def _take_back(self, loan: Loan, *, by_force: bool = False) -> None:
        """Has a worker that was lent, if nobody uses it."""
        has_it, number, lot, is_known = loan.take_back(by_force=by_force)
        if not has_it:
            return
        handle = loan.handle
        self.loans.out = tuple(other for other in self.loans.out if other is not loan)
        self._schedule.take_back(handle.number, number, lot)
        self._listen(handle.channel.fileno(), handle.number)
        for file in loan.returned:
            self._segments.give_back(file)
        if not is_known:
            handle.kill()
        if by_force:
            handle.channel.refuse()  # whoever waits for it is woken

    # What the rules say.

    def _start(self, action: actions.Start) -> None:
        worker = action.worker
        self.ledger.started(worker, time.monotonic())
        try:
            handle = self._hire(worker, self._functions, self._segments)
        except Exception as error:
            self._boot_error = error
            self._events.append(events.Died(worker, 0, told=True))
            return
        self.handles[worker] = handle
        self._listen(handle.channel.fileno(), worker)
        self._listen(handle.pidfd, worker, is_pidfd=True)

    def _send(self, action: actions.Send) -> None:
        handle, batch, began = self.handles[action.worker], action.batch, time.monotonic()
        written = handle.sender.write(batch.first, batch.lot)
        handle.send(written.parcels)
        self._schedule.sent(action.worker, written.tasks, written.size)
        self.ledger.sent(action.worker, began, queued=bool(self._queue.waiting))
        self.ledger.sending += time.monotonic() - began

    def _send_again(self, handle: WorkerHandle, first: int) -> None:
        for batch in self._schedule.desks[handle.number].batches:
            if batch.first == first:
                handle.send(handle.sender.write_one_by_one(first, batch.lot))
                return
        handle.send(handle.sender.write_nothing(first))  # it was recalled meanwhile

    def _look(self, action: actions.Look) -> None:
        handle = self.handles.get(action.worker)
        if handle is not None:
            self._receive(handle)
            self._collect(handle)
            running = handle.running
            stopped = not running and handle.is_stopped()
            self._events.append(events.Looked(action.worker, handle.begun, running, stopped))

    def _lose(self, action: actions.Lose) -> None:
        handle, lot = self.handles[action.worker], action.lot
        if handle.unwanted:
            lot.cancel()
            return
        error: BaseException
        if self._stopping:
            lot.cancel()
            return
        if handle.overtime:
            error = TaskTimeout(lot.allowed, task=lot.names(), ended=True)
        else:
            error = handle.conclude(lot, begun=action.begun)
        retry: deque[Any] = deque()
        self.ledger.lose()
        lot.deliver([Failed(error)], retry, failed=True)
        self.ledger.retried += len(retry)
        self._queue.waiting.extendleft(retry)

    def _retire(self, action: actions.Retire) -> None:
        self.handles[action.worker].send([Parcel(wire.END)])

    def _kill(self, action: actions.Kill) -> None:
        handle = self.handles.get(action.worker)
        if handle is not None:
            handle.overtime = action.overtime
            handle.kill()

    def _give_up(self, action: actions.GiveUp) -> None:
        handle = self.handles.get(action.worker)
        error = handle.boot_error if handle is not None else self._boot_error
        if error is None:
            assert handle is not None
            error = handle.conclude_boot()
        self.broken = error
        self._queue.closed = True
        self._queue.fail_all(error)

    def _clean_up(self) -> None:
        self._queue.closed = True
        for handle in list(self.handles.values()):
            handle.kill()
            handle.close()
        self._segments.close()
        self._poller.close()
        self._bell.close()  # whoever submits at this moment looks
        self._queue.cancel_all()
        self.over.set()
