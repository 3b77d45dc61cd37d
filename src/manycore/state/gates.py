"""Waiting: named pipes that threads sleep on, and why nobody sleeps too long.

Rules:

1. The store is the truth; a byte in a pipe only says "look again". One too many costs a look.
2. Every wait has a pipe of its own, which only its thread reads. Who waits opens it first; then,
   in one writing transaction, sees that it must wait, empties the pipe, and leaves a row with
   its name.
3. Who ends the reason does so in one writing transaction, and there removes the rows and writes a
   byte into each of their pipes. Transactions follow one another: a row is seen by whoever ends the
   reason after it was left, and who looks after that does not wait.
4. Where one can go on at a time (`in_line`), one is woken, the one who has waited longest; it keeps
   its place when somebody else was quicker, and is passed over while a signal (SIGSTOP) holds it.
   Each in the line watches the process before it, so that a wake-up is not lost with who got it;
   whoever leaves the line, or comes back into it, knocks at the next, which then looks again whom
   to watch.
5. A waiter also watches the processes that it waits for (pidfd): the kernel wakes it at their end.
   It looked at who they are in the same transaction, and any change of them removes its row.
6. Whoever is killed in between leaves a byte, or a row, or a pipe too many: see 1. What belongs to
   nobody any more is removed by who finds it.
"""

from __future__ import annotations

import itertools
import os
import select
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from manycore.base import life
from manycore.errors import StateError

from .bells import knock, ring_rows
from .proxy import ROWS, Proxy

_MOST_BYTES: Final = 65_536  # what a pipe holds, man 7 pipe
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Blocked:
    """What an attempt gives when it has to be made again later.

    Attributes:
        reason: One byte: what is waited for, of the several things that a container may have.
        watched: The identities of processes whose end would change things.
        in_line: One of those who wait is woken at a time.
    """

    reason: bytes
    watched: tuple[bytes, ...] = ()
    in_line: bool = False


Attempt = Callable[[Any, frozenset[bytes], str], Any]
"""Takes a writing transaction, the identities known to be dead, and the name of who waits ("" is
nobody yet); gives a result or `Blocked`."""


class Sleeper:
    """One thread's pipe, for the time of one wait.

    Args:
        proxy: What is waited for.
        timeout: For how many seconds at most, or None.
    """

    def __init__(self, proxy: Proxy, timeout: float | None) -> None:
        self._proxy = proxy
        self._deadline = None if timeout is None else time.monotonic() + timeout
        # the clock is the machine's: every process reads the same (man 7 time_namespaces: but for
        # containers of its own, which do not share state)
        self.name = f"{life.name()}-{next(_numbers)}-{int(time.monotonic() * 1000)}"
        self._path = os.path.join(proxy._store.home.gates, self.name)  # noqa: SLF001  # its own machinery
        self._fd = -1
        self._row = b""
        self._place = b""
        self.dead: set[bytes] = set()

    def __enter__(self) -> Sleeper:  # noqa: PYI034
        os.mkfifo(self._path, 0o600)
        try:
            # for reading and writing: so it never reads as ended (man 7 fifo)
            self._fd = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except BaseException:
            os.unlink(self._path)
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._fd)
        with suppress(FileNotFoundError):
            os.unlink(self._path)

    def register(self, txn: Any, blocked: Blocked) -> tuple[bytes, ...]:
        """Leaves the row, within the transaction that saw that there is something to wait for.

        Returns:
            Which processes to watch.
        """
        with suppress(BlockingIOError):
            os.read(self._fd, _MOST_BYTES)
        first = not self._place
        if first:
            self._place = self._proxy._store.writing.order(txn)  # noqa: SLF001
        rows = self._proxy._number + ROWS + blocked.reason  # noqa: SLF001
        self._row = rows + self._place
        came_back = txn.put(self._row, self.name.encode(), True, False) and not first
        if not blocked.in_line:
            return blocked.watched
        if came_back:
            self._knock_next(txn)
        before = self._process_before(txn, rows)
        return blocked.watched if before is None else (*blocked.watched, before)

    def leave(self, txn: Any) -> bool:
        """Removes the row; says whether somebody else did, and so has rung."""
        if not self._row:
            return False
        rung = not txn.delete(self._row)
        if not rung:
            self._knock_next(txn)
        return rung

    def give_up(self, txn: Any) -> None:
        """Leaves though it may have been rung for: then it is the next one's turn."""
        if self.leave(txn):
            reason = self._row[: -len(self._place)]
            ring_rows(self._proxy._store.home.gates, txn, reason, 1, in_line=True)  # noqa: SLF001

    def _knock_next(self, txn: Any) -> None:
        """Lets the next in the line look again. Its row stays, so that this ends with it."""
        cursor = txn.cursor()
        found = cursor.set_range(self._row)
        if found and cursor.key() == self._row:
            found = cursor.next()
        if found and cursor.key().startswith(self._row[: -len(self._place)]):
            knock(os.path.join(self._proxy._store.home.gates, cursor.value().decode()))  # noqa: SLF001

    def _process_before(self, txn: Any, rows: bytes) -> bytes | None:
        """Gives whose row is before this one in the line; removes those of the dead."""
        cursor = txn.cursor()
        cursor.set_range(self._row)
        while cursor.prev() and cursor.key().startswith(rows):
            process = life.parse_name(cursor.value().decode())
            if process is not None and process not in self.dead:
                return None if process == life.mine() else process
            row = cursor.key()
            txn.delete(row)
            cursor.set_range(self._row)
        return None

    def sleep(self, watched: Iterable[bytes] = ()) -> bool:
        """Sleeps until the pipe or a process speaks. False: the time is over."""
        processes: dict[int, bytes] = {}
        try:
            for process in watched:
                fd = life.watch(process)
                if fd is None:
                    self.dead.add(process)
                    return True
                processes[fd] = process
            poller = select.poll()
            for fd in (self._fd, *processes):
                poller.register(fd, select.POLLIN)
            left = None
            if self._deadline is not None:
                left = max(0.0, self._deadline - time.monotonic()) * 1000
            ready = [fd for fd, _ in poller.poll(left)]
            self.dead.update(processes[fd] for fd in ready if fd in processes)
            return bool(ready)
        finally:
            for fd in processes:
                os.close(fd)


def wait(
    proxy: Proxy,
    attempt: Attempt,
    timeout: float | None,
    given_up: Callable[[Any, str], None] | None = None,
) -> Any:
    """Makes an attempt until it succeeds.

    Args:
        proxy: The container that it is about.
        attempt: See `Attempt`. It runs inside a writing transaction.
        timeout: Seconds; None waits for as long as it takes, 0 does not wait.
        given_up: Called in a writing transaction, with the name of who waited, when an exception
            ends the wait.

    Returns:
        What the attempt gave; `Blocked` when the time is over.

    Raises:
        StateError: It would have to wait inside a `transaction`, where nobody else can write.
    """
    writing = proxy._store.writing  # noqa: SLF001
    with writing.lock, writing as txn, txn:
        outcome = attempt(txn, frozenset(), "")
    if not isinstance(outcome, Blocked):
        return outcome
    if timeout is not None and timeout <= 0:
        dead = frozenset(one for one in outcome.watched if not life.is_alive(one))
        if not dead:
            return outcome
        with writing.lock, writing as txn, txn:
            return attempt(txn, dead, "")
    refuse_in_transaction(proxy)
    with Sleeper(proxy, timeout) as sleeper:
        try:
            awake = True
            while True:
                with writing.lock, writing as txn, txn:
                    outcome = attempt(txn, frozenset(sleeper.dead), sleeper.name)
                    if not isinstance(outcome, Blocked) or not awake:
                        sleeper.leave(txn)
                        return outcome
                    watched = sleeper.register(txn, outcome)
                awake = sleeper.sleep(watched)
        except BaseException:
            with writing.lock, writing as txn, txn:
                sleeper.give_up(txn)
                if given_up is not None:
                    given_up(txn, sleeper.name)
            raise


def refuse_in_transaction(proxy: Proxy) -> None:
    """Raises where waiting would be for ever."""
    if proxy._store.writing.is_in_group():  # noqa: SLF001
        raise StateError(
            proxy._label(),  # noqa: SLF001
            "it would have to wait inside a transaction, where nobody else can write",
            "wait before the transaction, or not at all",
        )
