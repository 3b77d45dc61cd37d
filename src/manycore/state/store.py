"""The store: one LMDB environment a directory, and everything that happens to it.

Rules:

1. One environment a directory and process. LMDB's locks belong to the process and file: a second
   one in the same process would release the first one's.
2. An environment never crosses a fork: the child closes what it inherited before anything else
   runs, and opens its own when it first needs one. So that nothing is half done at that moment, a
   fork waits until no other thread of the process is inside a transaction. Whoever needs several
   locks takes them in this order: a store's for writing, its for reading, the one for opening.
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
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import get_ident
from types import CodeType
from typing import Any, Final, NoReturn

import lmdb

from manycore.errors import StateClosed

from . import home as homes
from .environment import Environment, NotNow, not_now
from .home import Home
from .space import Space
from .writing import FORK_PATIENCE, Writing, translate

_stores: weakref.WeakValueDictionary[str, Store] = weakref.WeakValueDictionary()
_opening = threading.RLock()
_LOOK: Final = 1e-4  # seconds between two looks at what threads are about, when a fork waits


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
        self._environment = Environment(home)
        self.writing = Writing(home, self._environment.space, _Opener(self))
        self._begin: Callable[..., Any] = not_now
        self._quiet = False
        self._end = weakref.finalize(self, self._environment.end)
        _stores[home.path] = self

    def get(self, key: bytes) -> bytes | None:
        """Reads one record."""
        writing = self.writing
        if writing.grouped and writing.owner == get_ident():
            record: bytes | None = writing.txn.get(key)
            return record
        try:
            value: bytes | None = self._begin().get(key)  # no lock: see `before_fork`
        except (NotNow, lmdb.Error):
            return self._get_again(key)
        return value

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """Gives a transaction that sees one moment. The block must not run a caller's code."""
        writing = self.writing
        if writing.grouped and writing.owner == get_ident():
            yield writing.txn
            return
        with self._reading:
            txn = self._begin_patiently()
            try:
                yield txn
            except lmdb.Error as error:
                raise translate(error, self.home) from error
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
                self._begin_patiently().abort()
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

    def open_and_begin(self, *, write: bool) -> Any:
        """Opens the environment, and begins the transaction that was asked for."""
        with _opening:
            if self._environment.env is None:
                self._environment.start()
            env = self._environment.env
            assert env is not None
            self._begin = self._environment.begin
            self.writing.begin = self._environment.begin_writing
        return self.writing.begin() if write else env.begin()

    def _get_again(self, key: bytes) -> bytes | None:
        """Reads what could not be read in the short way."""
        with self._reading:
            try:
                value: bytes | None = self._begin_patiently().get(key)
            except lmdb.Error as error:
                raise translate(error, self.home) from error
            return value

    def _begin_patiently(self) -> Any:
        """Begins to read, though the environment may not be open, or its table be full."""
        try:
            return self._begin()
        except NotNow:
            return self.open_and_begin(write=False)
        except lmdb.ReadersFullError:
            self._environment.forget_dead_readers()
            return self._begin()

    def before_fork(self) -> None:
        """Waits until no thread of this process writes, and keeps them out."""
        self.writing.hold_still()

    def before_fork_reading(self) -> None:
        """Waits until no other thread of this process reads, and keeps them out.

        Who reads one record takes no lock, which would cost as much as reading: that `get` is under
        way shows in the thread's frames.
        """
        self._reading.acquire()
        if self._environment.env is not None and self._begin is self._environment.begin:
            self._begin = not_now
            deadline = time.monotonic() + FORK_PATIENCE
            self._quiet = _nobody_runs(_GET)
            while not self._quiet and time.monotonic() < deadline:
                time.sleep(_LOOK)
                self._quiet = _nobody_runs(_GET)
            self._environment.keep_spare()
        else:  # it is closed, or was never open
            self._quiet = True

    def after_fork_in_parent(self) -> None:
        """Lets them in again."""
        if self._environment.env is not None and self._begin is not_now:
            self._environment.let_go_of_spare()
            self._begin = self._environment.begin
        self._reading.release()
        self.writing.go_on()

    def after_fork_in_child(self) -> None:
        """Lets go of the parent's environment, unless a thread that is not here is using it."""
        quiet = self.writing.quiet and self._quiet
        self._reading = threading.RLock()
        closed = isinstance(self._begin, _Refusal)
        self.writing = Writing(self.home, self._environment.space, _Opener(self))
        if quiet:
            self._environment.leave_to_parent()
        else:
            self._environment.abandon()
        if closed or not quiet:
            self._begin = self.writing.begin = _Refusal(self.home, parent_was_busy=not closed)
        else:
            self._begin = not_now


_GET: Final = Store.get.__code__
_SLOW: Final = Store._get_again.__code__  # noqa: SLF001  # it holds the lock, or waits for it


def _nobody_runs(code: CodeType) -> bool:
    """Whether no other thread is inside a function, apart from what that calls under a lock."""
    me = get_ident()
    for thread, top in sys._current_frames().items():  # noqa: SLF001  # asking costs nothing before
        frame = None if thread == me else top
        while frame is not None and frame.f_code is not _SLOW:
            if frame.f_code is code:
                return False
            frame = frame.f_back
    return True


class _Opener:
    """Stands for an environment's `begin` until it is opened. Does not keep the store alive."""

    def __init__(self, store: Store) -> None:
        self._store = weakref.ref(store)

    def __call__(self) -> Any:
        store = self._store()
        assert store is not None  # whoever begins holds it
        return store.open_and_begin(write=True)


class _Refusal:
    """Stands for the `begin` of an environment that is closed."""

    def __init__(self, home: Home, *, parent_was_busy: bool = False) -> None:
        self._home = home
        self._parent_was_busy = parent_was_busy

    def __call__(self, *_: Any) -> NoReturn:
        if self._parent_was_busy:
            raise StateClosed(
                self._home.path,
                f"this process was forked while another thread wrote for {FORK_PATIENCE:g} seconds",
                "fork at another time, or make shorter transactions",
            )
        raise StateClosed(self._home.path, "the manager is closed", "make another one")


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


class _Forks:
    """Takes every open store of this process through a fork."""

    def __init__(self) -> None:
        self._stores: list[Store] = []

    def before(self) -> None:
        while True:
            self._stores = list(_stores.values())
            for store in self._stores:
                store.before_fork()
            for store in self._stores:
                store.before_fork_reading()
            _opening.acquire()
            if all(store in self._stores for store in _stores.values()):
                return
            self.after_in_parent()  # another one was made in the meantime

    def after_in_parent(self) -> None:
        _opening.release()
        for store in reversed(self._stores):
            store.after_fork_in_parent()
        self._stores = []

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
