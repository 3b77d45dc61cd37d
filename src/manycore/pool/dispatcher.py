"""The pool's engine: one thread that does what the rules say.

Rules:

1. Every worker, channel and lot is touched by this thread alone. Others append to the queue, set a
   flag, and wake it if it sleeps and has something to do.
2. It never waits for a worker: sending does not block, and death is a descriptor in the same wait.
3. It knows the engine, not the pool's face: a forgotten pool is collected, and that ends it.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from multiprocessing import util
from typing import Any, Final

from manycore.base import passing
from manycore.base.failures import Failure
from manycore.errors import TaskTimeout

from . import parcels, rules
from .future import Failed, Future
from .handle import WorkerHandle
from .ledger import Ledger
from .lots import TaskQueue
from .parcels import Functions

_READ: Final = select.EPOLLIN
_MEMORY_EVERY: Final = 0.1  # seconds between two looks at the workers' memory
_EXIT_PATIENCE: Final = 5.0  # seconds for the thread to end what it is doing

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """A queue and the workers that empty it.

    Args:
        workers: How many.
        name: What its workers' names begin with.
        initializer: What each worker calls first.
        initargs: With what.
        tasks_per_worker: After so many tasks a worker is replaced.
        memory_per_worker: Bytes; a worker that holds more after a batch is replaced.
        cancels_running: Whether `Future.cancel` ends running calls.
        finishes_at_exit: Whether the program, when it ends, waits for what is queued.
    """

    def __init__(
        self,
        workers: int,
        *,
        name: str = "PoolWorker",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        tasks_per_worker: int | None = None,
        memory_per_worker: int | None = None,
        cancels_running: bool = False,
        finishes_at_exit: bool = False,
    ) -> None:
        self.finishes_at_exit = finishes_at_exit
        self.queue = TaskQueue()
        self.ledger = Ledger()
        self.cancelling = self.queue.lock
        self.cancels_running = cancels_running
        self.workers = workers
        self.broken: BaseException | None = None
        self.over = threading.Event()
        self.closed = False
        self.handles: dict[int, WorkerHandle] = {}
        self.schedule = rules.Schedule(workers, self.queue, tasks_per_worker)
        self._name = name
        self._boot_error: BaseException | None = None
        self._initializer = initializer
        self._initargs = initargs
        self._memory_per_worker = memory_per_worker
        self._memory_looked_at = 0.0
        self._functions = Functions()
        self._events: deque[rules.Event] = deque()
        self._requests: deque[Callable[[], None]] = deque()
        self.sleeping = False
        self._stopping = False
        self._waker = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poller = select.epoll()
        self._poller.register(self._waker, _READ)
        self._sources: dict[int, tuple[int, bool]] = {}  # descriptor: worker, is it its pidfd
        self._do_by_kind: dict[type, Callable[[Any], None]] = {
            rules.Start: self._start,
            rules.Send: self._send,
            rules.Look: self._look,
            rules.Recall: lambda action: self.handles[action.worker].recall(action.below),
            rules.Lose: self._lose,
            rules.Retire: self._retire,
            rules.Kill: self._kill,
            rules.GiveUp: self._give_up,
            rules.Over: lambda _: self.over.set(),
        }
        self._owner = os.getpid()
        _engines.add(self)
        self._at_exit = util.Finalize(None, _finish_at_exit, (weakref.ref(self),), exitpriority=20)
        self._thread = threading.Thread(target=self._run, name=f"{name}-dispatcher", daemon=True)
        self._thread.start()

    # For any thread.

    def submit(self, future: Future) -> None:
        """Queues a call."""
        if self.closed:
            self.check_open()
        self.queue.waiting.append(future)
        if self.sleeping:
            self.wake()

    def put(self, span: Any) -> None:
        """Queues a part of a map."""
        self.check_open()
        self.add(span)

    def add(self, span: Any) -> None:
        """Queues a further part of a map that was begun before the pool was closed."""
        if self.broken is not None or self._stopping or self.over.is_set():
            span.cancel()
            return
        self.queue.waiting.append(span)
        if self.sleeping:
            self.wake()

    def batch_of(self, key: Hashable) -> int:
        """Gives how many tasks of a function make a batch."""
        return self.schedule.pace.fits(key)

    def check_open(self) -> None:
        """Raises what using a pool that cannot take a task raises."""
        if self._owner != os.getpid():
            raise ValueError("this pool is another process's: make one here")
        if self.broken is not None:
            raise self.broken
        if self.closed:
            raise ValueError("Pool not running")

    def wake(self) -> None:
        """Makes the thread look around."""
        self.sleeping = False
        try:
            os.eventfd_write(self._waker, 1)
        except (OSError, ValueError):  # it has ended, and who did not see that in time comes here
            self.sleeping = True
            self._drop_queue()

    def ask(self, request: Callable[[], None]) -> None:
        """Has something done by the thread."""
        self._requests.append(request)
        self.wake()

    def close(self) -> None:
        """Ends the workers when all is done that is queued now."""
        if not self.closed:
            self.closed = True
            self.ask(lambda: self._events.append(rules.CloseAsked()))

    def terminate(self) -> None:
        """Ends the workers now; what is not done is cancelled."""
        self.closed = True
        if not self._stopping:
            self._stopping = True
            self.ask(self._stop)

    def cancel_running(self, future: Future) -> None:
        """Ends the worker that runs a call; one that was not begun is just cancelled."""
        self.ask(lambda: self._end_running(future))

    def cancel_waiting(self) -> None:
        """Cancels what was not sent to a worker."""
        for entry in list(self.queue.waiting):
            if isinstance(entry, Future):
                entry.cancel()
        self.ask(self._drop_spans)

    def describe(self) -> str:
        """Says in a few words how it stands."""
        busy = self.count_busy()
        state = "terminated" if self._stopping else "closed" if self.closed else ""
        words = [f"{self.workers} workers", f"{busy} busy", f"{len(self.queue)} queued", state]
        return ", ".join(filter(None, words))

    def count_busy(self) -> int:
        """Says how many workers have tasks."""
        return sum(bool(desk.messages) for desk in list(self.schedule.desks.values()))

    def join(self, timeout: float | None = None) -> bool:
        """Waits until all workers have ended."""
        ended = self.over.wait(timeout)
        if ended and threading.current_thread() is not self._thread:
            self._thread.join(timeout)
        return ended

    # The thread.

    def _run(self) -> None:
        try:
            self._handle(rules.Begin())
            while not self.over.is_set():
                self._turn()
        except BaseException as error:  # a fault of ours must not leave anybody waiting
            self.broken = error
            self.closed = True
            self._fail_all(error)
            for desk in self.schedule.desks.values():
                for batch in desk.batches:
                    batch.lot.deliver([Failed(error)] * len(batch.lot), deque(), failed=True)
            raise
        finally:
            self._clean_up()

    def _turn(self) -> None:
        ready = self._wait()
        self.sleeping = False
        died = []
        for fd, _ in ready:
            if fd == self._waker:
                with suppress(BlockingIOError):
                    os.eventfd_read(fd)
                continue
            worker, is_pidfd = self._sources.get(fd, (-1, False))
            if is_pidfd:
                died.append(worker)
            elif worker in self.handles:
                self._receive(self.handles[worker])
        while self._requests:
            self._requests.popleft()()
        for worker in died:
            self._bury(worker)
        self._events.append(rules.TimePassed())
        while self._events:
            self._handle(self._events.popleft())

    def _wait(self) -> list[tuple[int, int]]:
        schedule = self.schedule
        wants = schedule.wants_tasks
        if not wants or not self.queue.waiting:
            due = schedule.next_look()
            timeout = -1.0 if due is None else max(0.0, due - time.monotonic())
            self.sleeping = wants
            if not (wants and self.queue.waiting) and not (self._requests or self._events):
                # epoll counts in milliseconds, and rounds down
                return self._poller.poll(timeout + 0.0009 if timeout > 0 else timeout)
        return self._poller.poll(0)

    def _handle(self, event: rules.Event) -> None:
        now = time.monotonic()
        if type(event) is not rules.TimePassed:
            self.ledger.note(event, queued=bool(self.queue.waiting), now=now)
        for action in self.schedule.handle(event, now):
            self._do_by_kind[type(action)](action)
        if self._stopping and self.queue.waiting:
            self._drop_queue()

    def _receive(self, handle: WorkerHandle) -> None:
        worker = handle.number
        while True:
            try:
                data = handle.channel.receive(wait=False).data
            except BlockingIOError:
                break
            except (EOFError, OSError):
                self._forget_source(handle.channel.fileno())
                break
            kind = data[:1]
            if kind == parcels.ANSWER:
                count, seconds = parcels.ANSWER_BODY.unpack_from(data, 1)
                self._collect(handle)
                handle.seconds += seconds
                self._events.append(rules.Answered(worker, count, seconds))
                self._weigh(handle)
            elif kind == parcels.BIG:
                handle.take_big(data)
            elif kind == parcels.READY:
                self._events.append(rules.Ready(worker))
            elif kind == parcels.SKIPPED:
                (number,) = parcels.SEPARATE_HEAD.unpack_from(data, 1)
                self._collect(handle)
                self._handle(rules.Skipped(worker, number))
            elif kind == parcels.UNREADABLE:
                self._send_again(handle, *parcels.SEPARATE_HEAD.unpack_from(data, 1))
            elif kind == parcels.BROKEN:
                import pickle

                failure: Failure = pickle.loads(data[1:])  # noqa: S301  # our worker's
                handle.boot_error = failure.rebuild()
        handle.flush()

    def _collect(self, handle: WorkerHandle) -> None:
        """Takes results and gives them to whom they belong."""
        desk = self.schedule.desks[handle.number]
        if desk.batches:
            handle.move_to(desk.batches[0].first)
        began = time.monotonic()
        values = handle.collect()
        if not values:
            return
        ledger = self.ledger
        ledger.tasks += len(values)  # first: whoever has a result may look at the figures
        if handle.some_failed:
            ledger.failed += sum(type(value) is Failed for value in values)
        retry: deque[Any] = deque()
        at = 0
        for lot in self.schedule.done(handle.number, handle.done):
            count = len(lot)
            part = values if count == len(values) else values[at : at + count]
            lot.deliver(part, retry, failed=handle.some_failed)
            at += count
        ledger.collecting += time.monotonic() - began
        ledger.retried += len(retry)
        self.queue.waiting.extendleft(retry)

    def _weigh(self, handle: WorkerHandle) -> None:
        limit, now = self._memory_per_worker, time.monotonic()
        if limit is not None and handle.memory_used() > limit:
            self._memory_looked_at = now
            self._events.append(rules.Full(handle.number))

    def _bury(self, worker: int) -> None:
        """A worker has ended."""
        handle = self.handles[worker]
        self._receive(handle)
        while self._events:
            self._handle(self._events.popleft())
        self._collect(handle)
        for fd in (handle.pidfd, handle.channel.fileno()):
            self._forget_source(fd)
        self._handle(rules.Died(worker, handle.begun, handle.boot_error is not None))
        self.handles.pop(worker).close()

    def _forget_source(self, fd: int) -> None:
        if self._sources.pop(fd, None) is not None:
            self._poller.unregister(fd)

    # What the rules say.

    def _start(self, action: rules.Start) -> None:
        worker = action.worker
        self.ledger.started(worker, time.monotonic())
        try:
            handle = WorkerHandle(
                worker,
                f"{self._name}-{worker + 1}",
                self._functions,
                self._initializer,
                self._initargs,
            )
        except Exception as error:
            self._boot_error = error
            self._events.append(rules.Died(worker, 0, told=True))
            return
        self.handles[worker] = handle
        for fd, is_pidfd in ((handle.channel.fileno(), False), (handle.pidfd, True)):
            self._sources[fd] = (worker, is_pidfd)
            self._poller.register(fd, _READ)

    def _send(self, action: rules.Send) -> None:
        handle, began = self.handles[action.worker], time.monotonic()
        handle.send(handle.sender.write(action.batch.first, action.batch.lot))
        self.ledger.sent(action.worker, began)
        self.ledger.sending += time.monotonic() - began

    def _send_again(self, handle: WorkerHandle, first: int) -> None:
        for batch in self.schedule.desks[handle.number].batches:
            if batch.first == first:
                handle.send(handle.sender.write_one_by_one(first, batch.lot))
                return
        handle.send([parcels.separate(first, [], passing.Cargo())])  # it was recalled meanwhile

    def _look(self, action: rules.Look) -> None:
        handle = self.handles.get(action.worker)
        if handle is not None:
            self._receive(handle)
            self._collect(handle)
            self._events.append(rules.Looked(action.worker, handle.begun, handle.running))

    def _lose(self, action: rules.Lose) -> None:
        handle, lot = self.handles[action.worker], action.lot
        if handle.unwanted:
            lot.cancel()
            return
        error: BaseException
        if self._stopping:
            lot.cancel()
            return
        if handle.overtime:
            error = TaskTimeout(lot.timeout, task=lot.names(), ended=True)
        else:
            error = handle.conclude(lot)
        retry: deque[Any] = deque()
        self.ledger.lose()
        lot.deliver([Failed(error)], retry, failed=True)
        self.ledger.retried += len(retry)
        self.queue.waiting.extendleft(retry)

    def _retire(self, action: rules.Retire) -> None:
        self.handles[action.worker].send([parcels.Parcel(parcels.END)])

    def _kill(self, action: rules.Kill) -> None:
        handle = self.handles.get(action.worker)
        if handle is not None:
            handle.overtime = action.overtime
            handle.kill()

    def _give_up(self, action: rules.GiveUp) -> None:
        handle = self.handles.get(action.worker)
        error = handle.boot_error if handle is not None else self._boot_error
        if error is None:
            assert handle is not None
            error = handle.conclude_boot()
        self.broken = error
        self.closed = True
        self._fail_all(error)

    def _stop(self) -> None:
        self._drop_queue()
        self._events.append(rules.StopAsked())

    def _drop_queue(self) -> None:
        for entry in self.queue.drain():
            if isinstance(entry, Future):
                entry.end_cancelled()
            else:
                entry.cancel()

    def _drop_spans(self) -> None:
        for entry in self.queue.drain():
            if isinstance(entry, Future):
                self.queue.waiting.append(entry)
            else:
                entry.cancel()

    def _fail_all(self, error: BaseException) -> None:
        from .lots import Calls

        for entry in self.queue.drain():
            if isinstance(entry, Future):
                if not entry.done():
                    Calls([entry], None, None).deliver([Failed(error)], deque(), failed=True)
            else:
                entry.deliver([Failed(error)] * len(entry), deque(), failed=True)

    def _end_running(self, future: Future) -> None:
        for worker, desk in self.schedule.desks.items():
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
                self._handle(rules.Unwanted(worker))
        else:
            future.end_cancelled()

    def _clean_up(self) -> None:
        self.closed = True
        for handle in list(self.handles.values()):
            handle.kill()
            handle.close()
        self._poller.close()
        waker, self._waker = self._waker, -1
        os.close(waker)
        self.sleeping = True  # so that whoever submits at this moment looks
        self._drop_queue()
        self._at_exit.cancel()
        self.over.set()


def _finish_at_exit(reference: weakref.ref[Engine]) -> None:
    """The program ends: so do its pools."""
    engine = reference()
    if engine is None:
        return
    if engine.finishes_at_exit and not isinstance(
        getattr(sys, "last_value", None), KeyboardInterrupt
    ):
        engine.close()
        engine.join()
    engine.terminate()
    engine.join(_EXIT_PATIENCE)


def _forget_all() -> None:
    """In a forked copy of the program, whose workers these are not."""
    for engine in list(_engines):
        engine.closed = True
        for handle in engine.handles.values():
            handle.channel.close()


os.register_at_fork(after_in_child=_forget_all)
