"""The manager: where state begins and ends."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import Any, Self

from manycore.errors import StateError

from . import bells, home, proxy, statistics
from .containers import Containers
from .home import Durability
from .statistics import ManagerStatistics
from .store import store_at, store_of, transaction


class Manager(Containers):
    """State that processes share, without a process that manages it.

    Args:
        path: A directory to keep it in: it survives restarts. None: a private one in memory, which
            ends with this process.
        max_size: The most bytes that its file may have. None: as large as the filesystem lets it.
        durability: What survives what. "process" (the default): everything that was committed
            survives the death of any process. "power": a power cut too; every commit waits for the
            disk.

    Raises:
        StateRefused: The directory is another user's, or open to others, or not ours.
        StateFull: There is no room for `max_size`.

    Example:
        >>> with Manager() as manager:
        ...     found = manager.list()
        ...     found.append(111)
        ...     print(found)
        [111]
    """

    def __init__(
        self,
        path: str | None = None,
        *,
        max_size: int | None = None,
        durability: Durability | None = None,
    ) -> None:
        _check_arguments(path, max_size, durability)
        if path is None:
            place = home.create_private(max_size)
        else:
            place = home.open_lasting(path, max_size, durability)
            bells.sweep_pipes(place.gates)
        self._store = store_of(place)
        if path is not None:
            proxy.sweep_orphans(self._store)

    @classmethod
    def attach(cls, path: str) -> Manager:
        """Gives a manager that another process has made, by its `path`.

        Raises:
            StateClosed: It is gone.
            StateRefused: It is not ours.
        """
        manager = cls.__new__(cls)
        manager._store = store_at(path)  # noqa: SLF001  # its own
        return manager

    def find(self, name: str) -> proxy.Proxy | None:
        """Gives the container of a name, whichever kind it is; None if there is none."""
        entry = proxy.find(self._store, name)
        return None if entry is None else proxy.proxy_of(self._store, entry)

    def __reduce__(self) -> tuple[Any, ...]:
        return Manager.attach, (self.path,)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        return f"<Manager {self.path}>"

    @property
    def path(self) -> str:
        """The directory."""
        return self._store.home.path

    def start(self, initializer: Any = None, initargs: Any = ()) -> None:
        """Does nothing: there is no process to start. Here so that old programs run unchanged."""

    def shutdown(self) -> None:
        """Ends the use of the state by this process; private state is removed with it.

        Proxies raise `StateClosed` from now on. Other processes keep what they have open until they
        end, and find nothing when they begin.
        """
        self._store.close()

    close = shutdown

    def transaction(self) -> AbstractContextManager[None]:
        """Makes all that the block does to containers of this manager happen at once or not at all.

        When the block raises, or its process is killed, nothing of it has happened. Every other
        writer waits meanwhile, and the block must not wait for any of them.

        Example:
            >>> with Manager() as manager:
            ...     accounts = manager.dict(ann=100, bob=0)
            ...     with manager.transaction():
            ...         accounts["ann"] -= 30
            ...         accounts["bob"] += 30
            ...     accounts.copy()
            {'ann': 70, 'bob': 30}
        """
        return transaction(self._store)

    def delete(self, name: str) -> bool:
        """Removes the container of a name and all it holds; says whether there was one."""
        entry = proxy.find(self._store, name)
        if entry is None:
            return False
        proxy.remove(self._store, entry.number)
        return True

    def statistics(self) -> ManagerStatistics:
        """Says what there is: containers, bytes, readers, who waits, how deep queues are."""
        return statistics.read(self._store)


def _check_arguments(path: Any, max_size: Any, durability: Any) -> None:
    where = "Manager" if path is None else str(path) or "Manager"
    if path is not None and not os.fspath(path):
        raise StateError(where, "the path is empty", "give a directory, or None for memory")
    if durability not in {None, "process", "power"}:
        raise StateError(
            where, f"durability={durability!r} is neither", 'give "process" or "power"'
        )
    if path is None and durability == "power":
        raise StateError(where, "what is in memory cannot survive a power cut", "give a path")
    if max_size is not None and (
        isinstance(max_size, bool) or not isinstance(max_size, int) or max_size < home.SMALLEST_SIZE
    ):
        raise StateError(where, f"max_size={max_size!r} is too small", f"from {home.SMALLEST_SIZE}")
