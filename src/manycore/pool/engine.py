"""A pool's engine, as threads see it: a queue, and the dispatcher that empties it.

It knows the dispatcher, not the pool's face: a forgotten pool is collected, and that ends it.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Hashable
from multiprocessing import util
from typing import Any, Final

from manycore.base.conditions import Event
from manycore.base.cpus import cpu_count

from .bell import Bell
from .dispatcher import Dispatcher
from .future import Future
from .handle import WorkerHandle
from .ledger import Ledger
from .lots import TaskQueue
from .rules import Schedule
from .shared import Shared
from .unread import Map, Unread

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
        self.unread = Unread()
        self.cancelling = self.queue.lock
        self.cancels_running = cancels_running
        self.workers = workers
        self.ledger = Ledger()
        self.bell = Bell()
        self.schedule = Schedule(workers, self.queue, tasks_per_worker)
        cpus = max(1, cpu_count() // workers)
        self._dispatcher = Dispatcher(
            self.queue,
            self.bell,
            self.schedule,
            lambda number, functions, segments: WorkerHandle(
                number, f"{name}-{number + 1}", functions, segments, initializer, initargs, cpus
            ),
            memory_per_worker,
            self.ledger,
        )
        self._stopping = False
        self._owner = os.getpid()
        _engines.add(self)
        self._at_exit = util.Finalize(None, _finish_at_exit, (weakref.ref(self),), exitpriority=20)
        self._thread = threading.Thread(
            target=_dispatch,
            args=(self._dispatcher, weakref.ref(self)),
            name=f"{name}-dispatcher",
            daemon=True,
        )
        self._thread.start()

    @property
    def handles(self) -> dict[int, WorkerHandle]:
        """The workers that there are, by their numbers."""
        return self._dispatcher.handles

    @property
    def closed(self) -> bool:
        """Whether it takes no more tasks."""
        return self.queue.closed

    @property
    def broken(self) -> BaseException | None:
        """What keeps its workers from beginning."""
        return self._dispatcher.broken

    @property
    def over(self) -> Event:
        """Set when all workers have ended."""
        return self._dispatcher.over

    def submit(self, future: Future) -> None:
        """Queues a call."""
        if self.queue.closed:
            self.check_open()
        self.queue.waiting.append(future)
        if self.bell.wanted:
            self.wake()

    def call(self, future: Future) -> Any:
        """Has a call done and waits for what it returns."""
        self.check_open()
        if not self._dispatcher.loans.do(future):
            self.submit(future)
        return future.result()

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
        if self.bell.wanted:
            self.wake()

    def share(self, value: Any) -> Shared:
        """Makes an object that is sent to each worker once."""
        self.check_open()
        return Shared(value, self._dispatcher.shelf)

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
        """Makes the dispatcher look around."""
        if not self.bell.ring():  # it has ended, and who did not see that in time comes here
            self.queue.cancel_all()

    def ask(self, request: Callable[[], None]) -> None:
        """Has something done by the dispatcher."""
        self._dispatcher.requests.append(request)
        self.wake()

    def close(self) -> None:
        """Ends the workers when all is done that is queued now."""
        self.queue.closed = True
        if not self.unread:
            self.ask(self._dispatcher.close)  # again, if need be: Ctrl-C may have come in between

    def was_read(self, found: Map) -> None:
        """A map was read to its end, or will not be."""
        self.unread.discard(found)
        if self.queue.closed and not self.unread:
            self.ask(self._dispatcher.close)

    def terminate(self) -> None:
        """Ends the workers now; what is not done is cancelled."""
        self.queue.closed = self._stopping = True
        self.unread.cancel_all()
        self.ask(self._dispatcher.stop)  # again, if need be, as in `close`

    def cancel_running(self, future: Future) -> None:
        """Ends the worker that runs a call; one that was not begun is just cancelled."""
        self.ask(lambda: self._dispatcher.end_running(future))

    def cancel_waiting(self) -> None:
        """Cancels what was not sent to a worker."""
        for entry in list(self.queue.waiting):
            if isinstance(entry, Future):
                entry.cancel()
        self.unread.cancel_all()
        self.ask(self.queue.cancel_spans)

    def describe(self) -> str:
        """Says in a few words how it stands."""
        busy = self.count_busy()
        state = "terminated" if self._stopping else "closed" if self.closed else ""
        words = [f"{self.workers} workers", f"{busy} busy", f"{len(self.queue)} queued", state]
        return ", ".join(filter(None, words))

    def count_busy(self) -> int:
        """Says how many workers have tasks."""
        busy = sum(bool(desk.messages) for desk in list(self.schedule.desks.values()))
        return busy + len(self.lent)

    @property
    def lent(self) -> set[int]:
        """The workers that threads call directly at this moment."""
        return {loan.handle.number for loan in self._dispatcher.loans.out if not loan.is_free}

    def join(self, timeout: float | None = None) -> bool:
        """Waits until all workers have ended."""
        if self.unread:
            self.unread.finish()
        ended = self.over.wait(timeout)
        if ended and threading.current_thread() is not self._thread:
            self._thread.join(timeout)
        return ended

    def let_go(self) -> None:
        """The dispatcher has ended."""
        self._at_exit.cancel()


def _dispatch(dispatcher: Dispatcher, reference: weakref.ref[Engine]) -> None:
    """The thread."""
    try:
        dispatcher.run()
    finally:
        engine = reference()
        if engine is not None:
            engine.let_go()


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
        engine.queue.closed = True
        for handle in engine.handles.values():
            handle.channel.close()


os.register_at_fork(after_in_child=_forget_all)
