"""What LMDB has open of a directory, and what of that must end with the store or at a fork."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NoReturn

import lmdb

from . import home as homes
from .home import Home
from .space import Space
from .turns import Turns
from .writing import READERS, translate


class NotNow(Exception):  # noqa: N818  # no error: no caller of a store sees it
    """The environment is not open, or a fork is under way: there is a longer way."""


def not_now(*_: Any) -> NoReturn:
    """Stands for the `begin` of who reads without a lock, while that will not do."""
    raise NotNow


_abandoned: Final[list[Any]] = []  # environments that this process must never close


class Environment:
    """What of a store must end, though nobody may remember the store.

    Attributes:
        env: LMDB's environment, while it is open.
        begin: Begins to read.
        begin_writing: Begins to write, when it is this process's turn.
        space: What of the file may be written.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._pid = os.getpid()
        self._made_here = home.private and f"-{self._pid}-" in os.path.basename(home.path)
        self._held = -1
        self._spare: Any = None
        self.env: Any = None
        self.begin: Callable[..., Any] = not_now
        self.begin_writing: Callable[[], Any] = not_now
        self._turns = Turns()
        self.space = Space(home)

    def start(self) -> None:
        """Opens it."""
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
                max_spare_txns=1,  # keeps its slot in the table of readers; see `keep_spare`
                lib_version=0,
            )
            self.env.reader_check()
            self.begin = self.env.begin
            self.begin_writing = self._turns.start(home.path, self.env.begin)
            self.space.start(self.env)
        except BaseException as error:
            os.close(self._held)
            self._held = -1
            if isinstance(error, lmdb.Error):
                raise translate(error, home) from error
            raise

    def forget_dead_readers(self) -> None:
        """Frees the places in the table of readers that killed processes have left."""
        self.env.reader_check()

    def keep_spare(self) -> None:
        """Takes the transaction that is kept for the next reader, before a fork.

        Its slot in the table of readers is the parent's, and a child that closes what it inherited
        would clear it. In a child the object of a transaction lets its slot alone.
        """
        with suppress(lmdb.Error):  # the table is full: then there is none
            self._spare = self.begin()

    def let_go_of_spare(self) -> None:
        """Gives it back after the fork."""
        self._spare = None

    def leave_to_parent(self) -> None:
        """Closes what a fork copied. LMDB's locks are not inherited: the parent keeps its own."""
        self._spare = None
        self._stop()

    def abandon(self) -> None:
        """Leaves alone what a fork copied in the middle of a transaction; it stays mapped."""
        if self.env is not None:
            _abandoned.append(self.env)
        self._spare = self.env = None
        self.begin = self.begin_writing = not_now
        self._held = -1

    def end(self) -> None:
        """Lets go of everything, and removes the directory if it is this process's own."""
        if self._pid != os.getpid() and self.env is None and self._held < 0:
            return
        self._stop()
        if self._made_here and self._pid == os.getpid():
            homes.remove(self._home.path)

    def _stop(self) -> None:
        env, self.env = self.env, None
        self.begin = self.begin_writing = not_now
        self.space.stop()
        if env is not None:
            env.close()
        self._turns.stop()
        if self._held >= 0:
            os.close(self._held)
            self._held = -1
