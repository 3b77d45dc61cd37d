"""What modes have in common in which one thread serves all connections of a worker.

Rule: the main thread takes connections and asks for things; whatever is done with a connection is
done in the other thread. So each count has one writer, and there is no lock.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from manycore.server.statistics import Column
from manycore.server.visit import Visit

from .mode import shut_reading


class Ledger:
    """Counts the connections of such a mode.

    Guarantee: each cell has one writer, the main thread or the handlers' thread; so it needs no
    lock.

    Args:
        limit: How many may be open.
        row: The worker's row on the board.
        freed: Called when what `wake_below` asked for has come.
    """

    def __init__(self, limit: int, row: memoryview, freed: Callable[[], None]) -> None:
        self.limit = limit
        self._row = row
        self._freed = freed
        self._accepted = 0  # the main thread's
        self._finished = 0  # the handlers' thread's
        self._wake_below = 0
        row[Column.THREADS] = 1

    @property
    def open(self) -> int:
        """How many connections are being served."""
        return self._accepted - self._finished

    @property
    def full(self) -> bool:
        """Whether no more may be open."""
        return self.open >= self.limit

    def accepted(self) -> None:
        """Counts one that was taken; main thread."""
        self._accepted += 1
        self._row[Column.ACCEPTED] += 1

    def finished(self) -> None:
        """Counts one whose handler and socket are done; handlers' thread."""
        self._finished += 1
        self._row[Column.FINISHED] += 1
        self._wake()

    def failed(self) -> None:
        """Counts one whose handler raised; handlers' thread."""
        self._row[Column.FAILED] += 1

    def wake_below(self, open_connections: int) -> None:
        """Asks for one call of `freed`, once fewer connections than this are open; main thread."""
        self._wake_below = open_connections
        self._wake()  # the last of them may have gone before we asked

    def _wake(self) -> None:
        # whichever thread comes second sees what the other wrote: both may call, which does no harm
        if self.open < self._wake_below:
            self._wake_below = 0
            self._freed()


class OneThreadMode(ABC):
    """A mode in which one thread serves all connections: the main thread's side of it.

    Args:
        thread: That thread, not started yet.
        limit: How many connections may be open.
        row: The worker's row on the board.
        freed: Called, from any thread, when what `wake_below` asked for has come.
    """

    def __init__(
        self,
        thread: threading.Thread,
        limit: int,
        row: memoryview,
        freed: Callable[[], None],
    ) -> None:
        self._thread = thread
        self._ledger = Ledger(limit, row, freed)

    @property
    def open(self) -> int:
        """How many connections are being served."""
        return self._ledger.open

    @property
    def full(self) -> bool:
        """Whether no more may be served at a time."""
        return self._ledger.full

    @property
    def limit(self) -> int:
        """How many may be served at a time."""
        return self._ledger.limit

    @property
    def is_threaded(self) -> bool:
        """One thread serves all connections."""
        return False

    def threads(self) -> dict[int, int | None]:
        """Gives that thread."""
        return {self._thread.native_id or 0: None}

    def start(self) -> None:
        """Starts that thread."""
        self._thread.start()

    def reserve(self) -> bool | None:
        """Says whether one more may be served."""
        return None if self.full else True

    def release(self, place: bool) -> None:  # noqa: B027, FBT001  # a place
        """Nothing was reserved but a number."""

    def serve(self, place: bool, visit: Visit) -> None:  # noqa: ARG002, FBT001
        """Hands a connection to that thread."""
        self._ledger.accepted()
        self._hand_over(visit)

    def disconnect(self, visit: Visit) -> None:
        """Ends one connection, if it is not over yet."""
        self._call(self._disconnect, visit)

    def wake_below(self, open_connections: int) -> None:
        """Asks for one call of `freed`, once fewer connections than this are open."""
        self._ledger.wake_below(open_connections)

    def let_go(self, visit: Visit) -> None:
        """Ends a connection that is idle, as politely as it can."""
        self._call(self._let_go, visit)

    def end_connections(self) -> int:
        """Ends every open connection; gives their number."""
        count = self.open
        self._call(self._end)
        return count

    def close(self, timeout: float) -> None:
        """Ends what still runs, and that thread."""
        self._call(self._stop)
        self._thread.join(timeout)

    @abstractmethod
    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Lets that thread call a function, soon."""

    @abstractmethod
    def _hand_over(self, visit: Visit) -> None:
        """Hands a connection to that thread, soon."""

    # From here on: that thread.

    @abstractmethod
    def _disconnect(self, visit: Visit) -> None:
        """Ends one connection, if it is not over yet."""

    def _let_go(self, visit: Visit) -> None:
        """Ends one that is idle."""
        shut_reading(visit)

    @abstractmethod
    def _end(self) -> None:
        """Ends every connection."""

    @abstractmethod
    def _stop(self) -> None:
        """Ends this thread's work."""
