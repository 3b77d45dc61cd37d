"""Workers on loan: who calls and waits, while nothing else is to be done, talks to the worker.

Through the dispatcher a call takes two switches of threads more than it needs, which is most of its
time. So once somebody has called and waited, idle workers are lent to those who do so next.

Rules:

1. A worker on loan has nothing else to do. The dispatcher sends it no tasks and does not listen to
   it, until it takes the loan back: when there is anything else to do and nobody is using that.
2. What changes something is done under the loan's lock. The wait is not: it changes nothing.
3. After an exception in the wait, as Ctrl-C is, the call goes on, and the dispatcher takes over.
   After one in the middle of a change nobody knows how far that came: the worker is ended, and the
   pool's rules know what to do then, as they do when it dies by itself.
4. What is not simple goes through the dispatcher: limits, descriptors, what is big or shared.
"""

from __future__ import annotations

import os
import pickle
import threading
import time
from contextlib import suppress
from enum import Enum, auto
from typing import Final, NamedTuple

from manycore.base import passing

from . import wire
from .bell import Bell
from .freight import BIG, INLINE
from .functions import PLAIN, Functions, Known
from .future import RUNNING, Future, finish
from .handle import WorkerHandle
from .ledger import Alone
from .limits import NO_LIMITS
from .lots import Calls, TaskQueue
from .pace import key_of
from .parcels import are_light_atoms

_COUNTING: Final = threading.Lock()
_ANSWER_SIZE: Final = 1 + wire.ANSWER_BODY.size


class Stage(Enum):
    """How far a call is."""

    IDLE = auto()
    SENDING = auto()
    WAITING = auto()
    TAKING = auto()


class Call(NamedTuple):
    """A call as it is written.

    Attributes:
        known: Its function.
        uniform: Whether the body is a list of tuples of arguments.
        body: The arguments.
    """

    known: Known
    uniform: bool
    body: bytes


class Loan:
    """One worker, while it is lent.

    Attributes:
        handle: The worker.
        returned: Numbers of the pool's files that the worker does not look at any more.
    """

    def __init__(self, handle: WorkerHandle, alone: Alone) -> None:
        self.handle = handle
        self._alone = alone
        self.returned: list[int] = []
        self._lock = threading.Lock()
        self._future: Future | None = None  # whose call is under way
        self._number = 0  # of that call
        self._stage = Stage.IDLE
        self._abandoned = False
        self._revoked = False

    @property
    def is_free(self) -> bool:
        """Whether nobody uses it."""
        return self._future is None or self._abandoned

    def do(self, future: Future, call: Call) -> bool:
        """Has a call done; then the future is done, or will be. False: it is not to be had."""
        began = time.monotonic()
        try:
            with self._lock:
                if self._future is not None or self._revoked:
                    return False
                self._number = self.handle.done
                self._stage = Stage.SENDING
                self._future = future
                future._state = RUNNING  # noqa: SLF001  # rule 3 of the future: it is ours now
                self._send(call)
                self._stage = Stage.WAITING
            is_over = False
            while not is_over:
                self.handle.channel.wait()
                with self._lock:
                    is_over = self._take(future, began)
        except BaseException:
            try:
                self._abandon(future)
            finally:  # a second Ctrl-C may have interrupted that
                self._abandon(future)
            raise
        return True

    def _abandon(self, future: Future) -> None:
        """Nobody waits for a call any more."""
        if self._future is future:
            self._abandoned = True

    def take_back(self, *, by_force: bool = False) -> tuple[bool, int, Calls | None, bool]:
        """The dispatcher wants the worker back.

        Args:
            by_force: Though somebody waits for it; who waits is woken, and sees that.

        Returns:
            Whether it has it; the number of the worker's next task; the call that is under way;
            whether it is known how far that is.
        """
        with self._lock:
            if not by_force and not self.is_free:
                return False, 0, None, True
            self._revoked = True
            future = self._future
            if future is None or self._stage is Stage.IDLE:
                return True, self.handle.done, None, True
            lot = Calls([future], key_of(future.function), None)
            return True, self._number, lot, self._stage is Stage.WAITING

    def _send(self, call: Call) -> None:
        channel = self.handle.channel
        head: bytes
        if call.uniform:
            head = wire.UNIFORM + wire.UNIFORM_HEAD.pack(
                self._number, 1, call.known.number, 0.0, True
            )
            body = call.body
        else:
            head = wire.SEPARATE + wire.SEPARATE_HEAD.pack(self._number, 1)
            body = pickle.dumps([(call.known.number, call.body, [], None)])
        before = [*self.handle.notices(), *self.handle.sender.introduce(call.known)]
        with suppress(BrokenPipeError, ConnectionError):  # its pidfd tells the dispatcher
            for parcel in before:
                channel.send(parcel.data)
            channel.send(head + body)

    def _take(self, future: Future, began: float) -> bool:
        """Takes in what has come; False when more is to come, and it is still ours to take."""
        if self._revoked:
            return True
        handle = self.handle
        self._stage = Stage.TAKING
        try:
            while True:
                delivery = handle.unloader.receive(handle.channel, wait=False)
                if delivery.data[:1] == wire.ANSWER:
                    break
                if delivery.data[:1] != wire.RESULT:
                    raise RuntimeError(f"a worker on loan says {delivery.data[:1]!r}")
                handle.take_big(delivery)
        except BlockingIOError:  # a big result came, and its answer is not there yet
            self._stage = Stage.WAITING
            return False
        except (EOFError, OSError):  # as above: the dispatcher takes the call over
            self._stage = Stage.WAITING
            return True
        _, seconds = wire.ANSWER_BODY.unpack_from(delivery.data, 1)
        handle.seconds += seconds
        handle.result_bytes = 0
        if len(delivery.data) > _ANSWER_SIZE:
            self.returned += wire.read_numbers(delivery.data, _ANSWER_SIZE)
        values = handle.collect()
        with _COUNTING:
            self._alone.did(seconds, time.monotonic() - began, failed=handle.some_failed)
        finish([future], values)
        self._stage = Stage.IDLE
        self._future = None
        return True


class Loans:
    """The workers of a pool that are lent.

    Args:
        functions: The pool's.
        queue: Where tasks wait.
        bell: What wakes the dispatcher.

    Attributes:
        out: The loans. Only the dispatcher sets it.
        missed: Whether somebody would have liked one.
    """

    def __init__(self, functions: Functions, queue: TaskQueue, bell: Bell) -> None:
        self.out: tuple[Loan, ...] = ()
        self.missed = False
        self._functions = functions
        self._queue = queue
        self._bell = bell

    @property
    def is_any_free(self) -> bool:
        """Whether the dispatcher can take one back."""
        return any(loan.is_free for loan in self.out)

    def do(self, future: Future) -> bool:
        """Has a call done by a worker that is lent; False when none was: nothing has happened."""
        if self._queue.waiting or future.limits is not NO_LIMITS:
            return False
        loans = self.out
        if not loans:
            self.missed = True
            return False
        call = self._write(future)
        if call is None:
            return False
        for loan in loans:
            if loan.is_free:
                try:
                    try:
                        done = loan.do(future, call)
                    finally:
                        self._look_around()
                finally:  # the first one may be interrupted
                    self._look_around()
                if done:
                    return True
        return False

    def _look_around(self) -> None:
        """Whoever queues something from now on wakes the dispatcher; so does what was queued."""
        bell, queue = self._bell, self._queue
        bell.wanted = True
        if (queue.waiting or queue.closed) and not bell.ring():
            queue.cancel_all()

    def _write(self, future: Future) -> Call | None:
        """Writes a call; None when it is not simple, or cannot be written."""
        function, args, kwargs = future.function, future.args, future.kwargs
        if type(function) not in PLAIN:
            return None
        try:
            known = self._functions.known(function)
            if known is None or known.refers or len(known.data) > INLINE:
                return None
            if not kwargs and are_light_atoms(args):
                call = Call(known, True, pickle.dumps([args], pickle.HIGHEST_PROTOCOL))
            else:
                cargo = passing.Cargo(big=BIG)
                call = Call(known, False, passing.dumps((args, kwargs or {}), cargo))
                if cargo.fds or cargo.buffers or cargo.shared:
                    return None
        except Exception:  # the other way it is told
            return None
        return call if len(call.body) < INLINE // 2 else None


# in a forked copy of the program, whoever had it at that moment is not there
os.register_at_fork(after_in_child=_COUNTING._at_fork_reinit)  # type: ignore[attr-defined]  # noqa: SLF001
