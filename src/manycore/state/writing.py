"""One writing transaction: how it begins, what it may use, how it ends, whatever interrupts it."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from threading import get_ident
from types import FrameType
from typing import Any, Final

import lmdb

from manycore.errors import StateDamaged, StateError, StateFull

from .home import Home
from .space import Space

READERS: Final = 4096  # transactions that may read at one moment, by all processes; 64 bytes each
FORK_PATIENCE: Final = 5.0  # seconds that a fork waits for another thread's transaction


class Writing:
    """The one transaction of this process that writes, if there is one. Reusable, not nestable.

    An exception may come between any two instructions of Python (Ctrl-C), at the beginning of an
    `__exit__` too, and a transaction that is left open stops every other process. So it is LMDB's
    own context manager that commits and aborts, in one piece, and the builtin one that unlocks:
    `with writing.lock, writing as txn, txn:`.

    The operations that are used most have a short way, for when nothing is special, which takes
    half the time: `with writing.lock, writing.begin() as txn:`, and nothing is written unless
    `has_room()`. On an `lmdb.Error` they go the long way, which says what it means.

    Attributes:
        begin: The environment's `begin_writing`; while there is a `grouped` block, that joins it.
        has_room: Whether there is room for an operation's small records, without being asked for.
        lock: Held by the thread of this process that writes, so that a fork finds nobody writing.
        short: There is room to remove things, and none to put any: see `need`.
        grouped: A `transaction` block runs.
        owner: The thread that it belongs to.
        quiet: A fork is under way, and no other thread writes.
    """

    __slots__ = (
        "_begin_alone",
        "_doomed",
        "_group",
        "_home",
        "_joined",
        "_known",
        "_serial",
        "_space",
        "begin",
        "grouped",
        "has_room",
        "lock",
        "owner",
        "quiet",
        "short",
    )

    def __init__(self, home: Home, space: Space, begin: Callable[[], Any]) -> None:
        self._home = home
        self._space = space
        self.begin = begin
        self._begin_alone = begin
        self.has_room: Callable[[], bool] = space.has_room
        self.lock = threading.RLock()
        self.grouped = self.quiet = self.short = False
        self.owner = 0
        self._known: Callable[[], Any] = _no_transaction
        self._group: Any = None
        self._joined: Any = None
        self._doomed: BaseException | None = None
        self._serial = 0

    def __enter__(self) -> Any:
        if self.grouped and self.owner == get_ident():
            return self._join()
        txn = None
        try:
            try:
                txn = self.begin()
                self._known = weakref.ref(txn)
            except lmdb.Error as error:
                txn = self._begin_again(error)
            self._serial = 0
            self.short = False
            space = self._space
            space.spent = 0
            if not space.has_room():
                self.short = not space.begin(txn)
        except BaseException:
            if txn is not None:
                txn.abort()
            raise
        return txn

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, (lmdb.Error, StateFull)):
            if self.grouped and self.owner == get_ident():
                self._doomed = error
            if isinstance(error, lmdb.Error):
                raise translate(error, self._home) from error

    @property
    def txn(self) -> Any:
        """The transaction that is open."""
        return self._known()

    def order(self, txn: Any) -> bytes:
        """Gives 9 bytes that sort by the order in which they were asked for, by all processes."""
        serial = self._serial
        self._serial = serial + 1
        number: int = txn.id() << 24 | min(serial, 0xFF_FFFF)
        return number.to_bytes(9, "big")

    def need(self, size: int) -> None:
        """Makes sure of room for records of so many bytes; within the block, before they are put.

        Small ones (`SMALL` bytes in all) need it only when `short`: a transaction begins with room
        for them.

        Raises:
            StateFull: There is none.
        """
        self._space.need(self._known(), size)

    def group(self) -> None:
        """Makes all that this thread writes from now on one transaction; `lock` is held."""
        self._group = self.__enter__()
        self._space.begin_group(self._group)
        self._joined = _Joined(self._group, self._space)
        self._begin_alone, self.begin = self.begin, self._begin_joined
        self.owner = get_ident()
        self.grouped = True

    def ungroup(self, *, keep: bool) -> None:
        """Ends what `group` began, if that was not ended yet."""
        if self.begin == self._begin_joined:  # else it was closed in the meantime
            self.begin = self._begin_alone
        self.grouped = False
        self._space.end_group()
        txn, self._group, self._joined = self._group, None, None
        doomed, self._doomed = self._doomed, None
        try:
            if keep and doomed is None:
                txn.commit()
            elif txn is not None:
                txn.abort()
        except lmdb.Error as failure:
            raise translate(failure, self._home) from failure
        if keep and doomed is not None:
            raise self._failed() from doomed

    def is_in_group(self) -> bool:
        """Whether this thread is inside a `transaction` block."""
        return self.grouped and self.owner == get_ident()

    def is_idle(self) -> bool:
        """Whether no thread of this process writes at this moment."""
        return self._known() is None

    def hold_still(self) -> None:
        """Waits until no other thread of this process writes, and keeps them out until `go_on`."""
        self.quiet = self.lock.acquire(timeout=FORK_PATIENCE)

    def go_on(self) -> None:
        """Lets the others write again."""
        if self.quiet:
            self.lock.release()

    def _join(self) -> Any:
        """Begins an operation within the thread's block."""
        if self._doomed is not None:
            raise self._failed() from self._doomed
        self.short = not self._space.more(self._group)
        return self._joined

    def _begin_joined(self) -> Any:
        """Begins an operation in the short way within the thread's block."""
        if not self.grouped:  # an exception came between two instructions of the block's ends
            self.begin = self._begin_alone
            return self.begin()
        return self._join()

    def _begin_again(self, error: lmdb.Error) -> Any:
        """Undoes what an interrupted block of this thread left, unless it is under way."""
        left = self._known()
        operation = sys._getframe(2)  # noqa: SLF001  # there is no other way to ask who calls
        if left is None or "deadlock" not in str(error) or _is_inside_another(operation):
            raise translate(error, self._home) from error
        left.abort()
        txn = self.begin()
        self._known = weakref.ref(txn)
        return txn

    def _failed(self) -> StateError:
        return StateError(
            self._home.path,
            "an operation of this transaction has failed, so nothing of it was kept",
            "see the cause, and do it again",
        )


class _Joined:
    """The transaction of a `transaction` block, for the operations in it: none of them ends it."""

    __slots__ = ("_count", "_put", "cursor", "delete", "get", "id", "pop", "stat")

    def __init__(self, txn: Any, space: Space) -> None:
        for name in self.__slots__[2:]:
            setattr(self, name, getattr(txn, name))
        self._put = txn.put
        self._count = space.count

    def put(self, key: bytes, value: bytes, *arguments: bool) -> bool:
        self._count(len(key) + len(value))
        written: bool = self._put(key, value, *arguments)
        return written

    def __enter__(self) -> _Joined:  # noqa: PYI034
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


def _no_transaction() -> None:
    """What is known when there is none."""


def _is_inside_another(frame: FrameType | None) -> bool:
    """Whether an operation was begun by code that another operation calls, a signal handler say.

    Those frames are next to each other that belong to the operation itself; one of this package
    further down belongs to another.
    """
    here = os.path.dirname(__file__)
    while frame is not None and frame.f_code.co_filename.startswith(here):
        frame = frame.f_back
    while frame is not None and not frame.f_code.co_filename.startswith(here):
        frame = frame.f_back
    return frame is not None


def translate(error: lmdb.Error, home: Home) -> Exception:  # noqa: PLR0911  # an error, a line
    """Says in our terms what LMDB says in its own."""
    match error:
        case lmdb.MapFullError():
            return StateFull(
                home.path,
                f"max_size={home.max_size} is reached" if home.max_size else "the disk is full",
                "remove something, or give a larger max_size",
            )
        case lmdb.DiskError():
            return StateFull(home.path, "the disk is full", "free some room on it")
        case (
            lmdb.CorruptedError()
            | lmdb.PageNotFoundError()
            | lmdb.PanicError()
            | lmdb.InvalidError()
        ):
            return StateDamaged(home.path, f"the file is not whole ({error})", "restore it")
        case lmdb.ReadersFullError():
            return StateError(home.path, f"{READERS} readers are at work", "use fewer processes")
        case lmdb.BadValsizeError():
            return StateFull(home.path, "a value is larger than 4 GB", "split it")
    if "deadlock" in str(error):
        return StateError(
            home.path,
            "an operation was begun in the middle of another one of the same thread",
            "do not use a manager in a signal handler or in __del__",
        )
    return StateError(home.path, str(error), "this is unexpected: please report it")
