"""The store: one LMDB environment a directory, and everything that happens to it.

Rules:

1. One environment a directory and process. LMDB's locks belong to the process and file: a second
   one in the same process would release the first one's.
2. An environment never crosses a fork: the child closes what it inherited before anything else
   runs, and opens its own when it first needs one. So that nothing is half done at that moment, a
   fork waits until no other thread of the process is inside a transaction.
3. A reading transaction lives for one expression or one block of this package's code, never while
   a caller's code runs: while one is open, no page that it could see is used again.
4. An operation decides first and writes then. When it fails, what it wrote is undone; within a
   `transaction` it must therefore not have written yet.
5. Before anything is written there is room for it: the file is a sparse one, and a page that the
   filesystem cannot give when it is touched would end the process with SIGBUS. See `space`.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import get_ident
from types import FrameType
from typing import Any, Final, NoReturn

import lmdb

from manycore.errors import StateClosed, StateDamaged, StateError, StateFull

from . import home as homes
from .home import Home
from .space import Space

READERS: Final = 4096  # transactions that may read at one moment, by all processes; 64 bytes each
FORK_PATIENCE: Final = 5.0  # seconds that a fork waits for another thread's transaction

_stores: weakref.WeakValueDictionary[str, Store] = weakref.WeakValueDictionary()
_opening = threading.RLock()


def store_at(path: str) -> Store:
    """Gives this process's store of a directory that a manager has made.

    Raises:
        StateClosed: It is gone.
        StateRefused: It is not ours.
    """
    store = _stores.get(path)
    if store is None:
        with _opening:
            store = _stores.get(path)
            if store is None:
                store = Store(homes.attach(path))
    return store


def store_of(home: Home) -> Store:
    """Gives this process's store of a home, which is known to be ours."""
    with _opening:
        store = _stores.get(home.path)
        return Store(home) if store is None else store


class Store:
    """One directory's state, as this process sees it.

    Use `store_at` or `store_of`, so that there is one a directory.

    Attributes:
        home: Where it lives.
        writing: `with store.writing.lock, store.writing as txn, txn:` is one transaction, or a part
            of the thread's own.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self._reading = threading.RLock()
        self._environment = _Environment(home)
        self.writing = Writing(home, self._environment.space, _Opener(self))
        self._begin: Callable[..., Any] = self.writing.begin
        self._end = weakref.finalize(self, self._environment.end)
        _stores[home.path] = self

    def get(self, key: bytes) -> bytes | None:
        """Reads one record."""
        writing = self.writing
        if writing.grouped and writing.owner == get_ident():
            record: bytes | None = writing.txn.get(key)
            return record
        with self._reading:
            try:
                value: bytes | None = self._begin().get(key)
            except lmdb.Error as error:
                return self._get_again(key, error)
            return value

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """Gives a transaction that sees one moment. The block must not run a caller's code."""
        writing = self.writing
        if writing.grouped and writing.owner == get_ident():
            yield writing.txn
            return
        with self._reading:
            try:
                txn = self._begin()
            except lmdb.ReadersFullError:
                self._environment.forget_dead_readers()
                txn = self._begin()
            try:
                yield txn
            finally:
                txn.abort()

    def items(self, prefix: bytes, first: bytes = b"") -> list[tuple[bytes, bytes]]:
        """Lists the records whose keys start so, in the order of their keys."""
        with self.reading() as txn:
            return list(scan(txn, prefix, first))

    @property
    def open(self) -> Any:
        """The environment, for statistics and checks."""
        with self._reading:
            if self._environment.env is None:
                self.open_and_begin().abort()
            return self._environment.env

    @property
    def space(self) -> Space:
        """What of the file may be written."""
        return self._environment.space

    def close(self) -> None:
        """Ends the use of it by this process; and its life, if it is private and was made here."""
        with self.writing.lock, self._reading:
            self._begin = self.writing.begin = _Refusal(self.home)
            _stores.pop(self.home.path, None)
            self._end()

    def open_and_begin(self, *arguments: Any) -> Any:
        """Opens the environment, and begins the transaction that was asked for."""
        with _opening:
            if self._environment.env is None:
                self._environment.start()
            env = self._environment.env
            assert env is not None
            self._begin = self.writing.begin = env.begin
        return env.begin(*arguments)

    def _get_again(self, key: bytes, error: lmdb.Error) -> bytes | None:
        if isinstance(error, lmdb.ReadersFullError):
            self._environment.forget_dead_readers()
            value: bytes | None = self._begin().get(key)
            return value
        raise translate(error, self.home) from error

    def before_fork(self) -> None:
        """Waits until no thread of this process is in a transaction, and keeps them out."""
        self.writing.hold_still()
        self._reading.acquire()

    def after_fork_in_parent(self) -> None:
        """Lets them in again."""
        self._reading.release()
        self.writing.go_on()

    def after_fork_in_child(self) -> None:
        """Lets go of the parent's environment, unless a thread that is not here is using it."""
        quiet = self.writing.quiet
        self._reading = threading.RLock()
        closed = isinstance(self._begin, _Refusal)
        self.writing = Writing(self.home, self._environment.space, _Opener(self))
        if quiet:
            self._environment.leave_to_parent()
        if closed or not quiet:
            self._begin = self.writing.begin = _Refusal(self.home)
        else:
            self._begin = self.writing.begin


class _Opener:
    """Stands for an environment's `begin` until it is opened. Does not keep the store alive."""

    def __init__(self, store: Store) -> None:
        self._store = weakref.ref(store)

    def __call__(self, *arguments: Any) -> Any:
        store = self._store()
        assert store is not None  # whoever begins holds it
        return store.open_and_begin(*arguments)


class _Refusal:
    """Stands for the `begin` of an environment that is closed."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def __call__(self, *_: Any) -> NoReturn:
        raise StateClosed(self._home.path, "the manager is closed", "make another one")


class Writing:
    """The one transaction of this process that writes, if there is one. Reusable, not nestable.

    An exception may come between any two instructions of Python (Ctrl-C), at the beginning of an
    `__exit__` too, and a transaction that is left open stops every other process. So it is LMDB's
    own context manager that commits and aborts, in one piece, and the builtin one that unlocks:
    `with writing.lock, writing as txn, txn:`.

    Attributes:
        begin: The environment's `begin`.
        lock: Held by the thread of this process that writes, so that a fork finds nobody writing.
        short: There is room to remove things, and none to put any: see `need`.
        grouped: A `transaction` block runs.
        owner: The thread that it belongs to.
        quiet: A fork is under way, and no other thread writes.
    """

    __slots__ = (
        "_doomed",
        "_group",
        "_home",
        "_joined",
        "_known",
        "_serial",
        "_space",
        "begin",
        "grouped",
        "lock",
        "owner",
        "quiet",
        "short",
    )

    def __init__(self, home: Home, space: Space, begin: Callable[..., Any]) -> None:
        self._home = home
        self._space = space
        self.begin = begin
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
                txn = self.begin(None, None, True)
                self._known = weakref.ref(txn)
            except lmdb.Error as error:
                txn = self._begin_again(error)
            self._serial = 0
            self.short = False
            space = self._space
            space.spent = 0
            low, last_pages = space.low, space.last_pages
            if last_pages[space.one] > low or last_pages[space.two] > low:
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

    def order(self) -> bytes:
        """Gives 9 bytes that sort by the order in which they were asked for, by all processes."""
        serial = self._serial
        self._serial = serial + 1
        number: int = self._known().id() << 24 | min(serial, 0xFF_FFFF)
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
        self._joined = _Joined(self._group)
        self.owner = get_ident()
        self.grouped = True

    def ungroup(self, *, keep: bool) -> None:
        """Ends what `group` began, if that was not ended yet."""
        self.grouped = False
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

    def _begin_again(self, error: lmdb.Error) -> Any:
        """Undoes what an interrupted block of this thread left, unless it is under way."""
        left = self._known()
        operation = sys._getframe(2)  # noqa: SLF001  # there is no other way to ask who calls
        if left is None or "deadlock" not in str(error) or _is_inside_another(operation):
            raise translate(error, self._home) from error
        left.abort()
        txn = self.begin(None, None, True)
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

    __slots__ = ("cursor", "delete", "get", "id", "pop", "put", "stat")

    def __init__(self, txn: Any) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(txn, name))

    def __enter__(self) -> None:
        pass

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


class _Environment:
    """What of a store must end, though nobody may remember the store."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._pid = os.getpid()
        self._made_here = home.private and f"-{self._pid}-" in os.path.basename(home.path)
        self._held = -1
        self.env: Any = None
        self.space = Space(home)

    def start(self) -> None:
        home = self._home
        self._held = homes.hold(home)
        try:
            fast = home.durability == "process"
            self.env = lmdb.open(
                home.path,
                map_size=home.map_size,
                sync=not fast,
                metasync=not fast,
                writemap=fast,
                mode=0o700,
                max_readers=READERS,
                # a spare transaction's slot in the table of readers would be the parent's, and be
                # cleared by a forked child that closes what it inherited
                max_spare_txns=0,
                lib_version=0,
            )
            self.env.reader_check()
            self.space.start(self.env)
        except BaseException as error:
            os.close(self._held)
            self._held = -1
            if isinstance(error, lmdb.Error):
                raise translate(error, home) from error
            raise

    def forget_dead_readers(self) -> None:
        self.env.reader_check()

    def leave_to_parent(self) -> None:
        """Closes what a fork copied. LMDB's locks are not inherited: the parent keeps its own."""
        self._stop()

    def end(self) -> None:
        """Lets go of everything, and removes the directory if it is this process's own."""
        if self._pid != os.getpid() and self.env is None and self._held < 0:
            return
        self._stop()
        if self._made_here and self._pid == os.getpid():
            homes.remove(self._home.path)

    def _stop(self) -> None:
        env, self.env = self.env, None
        self.space.stop()
        if env is not None:
            env.close()
        if self._held >= 0:
            os.close(self._held)
            self._held = -1


@contextmanager
def transaction(store: Store) -> Iterator[None]:
    """Makes what the block does to a store one transaction, or part of the one that is open."""
    writing = store.writing
    if writing.is_in_group():
        yield
        return
    with writing.lock:
        try:
            writing.group()
            yield
            writing.ungroup(keep=True)
        except BaseException:
            writing.ungroup(keep=False)
            raise


def scan(txn: Any, prefix: bytes, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    """Walks over the records whose keys start so, from one of them on."""
    cursor = txn.cursor()
    if not cursor.set_range(first or prefix):
        return
    for key, value in cursor:
        if not key.startswith(prefix):
            return
        yield key, value


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
        case lmdb.CorruptedError() | lmdb.PageNotFoundError() | lmdb.PanicError():
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


class _Forks:
    """Takes every open store of this process through a fork."""

    def __init__(self) -> None:
        self._stores: list[Store] = []

    def before(self) -> None:
        _opening.acquire()
        self._stores = list(_stores.values())
        for store in self._stores:
            store.before_fork()

    def after_in_parent(self) -> None:
        for store in reversed(self._stores):
            store.after_fork_in_parent()
        self._stores = []
        _opening.release()

    def after_in_child(self) -> None:
        global _opening  # noqa: PLW0603  # the parent's thread may hold it for ever
        _opening = threading.RLock()
        for store in self._stores:
            with suppress(lmdb.Error):
                store.after_fork_in_child()
        self._stores = []


_forks: Final = _Forks()
os.register_at_fork(
    before=_forks.before,
    after_in_parent=_forks.after_in_parent,
    after_in_child=_forks.after_in_child,
)
