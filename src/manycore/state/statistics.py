"""What a manager holds, as it is at this moment."""

from __future__ import annotations

from dataclasses import dataclass

from manycore.base import life

from .bells import waiting
from .locks import Lock, RLock
from .proxy import ITEMS, Entry, Proxy, entries, proxy_of
from .store import Store


@dataclass(frozen=True, slots=True)
class ContainerStatistics:
    """One container.

    Attributes:
        kind: What it is: `dict`, `Lock`, …
        name: Its name; None if it is anonymous.
        items: How many items it holds; the depth of a queue.
        bytes: What its keys and values take, without the store's own overhead.
        waiters: How many threads wait for it.
        holder: The process id of who holds it, for a lock that is held; else None.
    """

    kind: str
    name: str | None
    items: int
    bytes: int
    waiters: int
    holder: int | None


@dataclass(frozen=True, slots=True)
class ManagerStatistics:
    """Everything a manager holds.

    Attributes:
        path: Its directory.
        keys: How many records there are.
        bytes: What of the file is in use.
        file_bytes: How far the file has been used so far.
        max_size: The bound of the file, or None.
        readers: How many processes have a place in the table of readers.
        containers: One entry each, in the order in which they were made.
    """

    path: str
    keys: int
    bytes: int
    file_bytes: int
    max_size: int | None
    readers: int
    containers: tuple[ContainerStatistics, ...]


def read(store: Store) -> ManagerStatistics:
    """Looks at everything. Takes time in proportion to what there is."""
    env = store.open
    stat = env.stat()
    pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
    return ManagerStatistics(
        path=store.home.path,
        keys=stat["entries"],
        bytes=pages * stat["psize"],
        file_bytes=(env.info()["last_pgno"] + 1) * stat["psize"],
        max_size=store.home.max_size,
        readers=env.info()["num_readers"],
        containers=tuple(_look_at(store, entry) for entry in entries(store)),
    )


def _look_at(store: Store, entry: Entry) -> ContainerStatistics:
    proxy = proxy_of(store, entry)
    records = store.items(entry.number)
    return ContainerStatistics(
        kind=entry.kind,
        name=entry.name,
        items=sum(key.startswith(entry.number + ITEMS) for key, _ in records),
        bytes=sum(len(key) + len(value) for key, value in records),
        waiters=waiting(proxy),
        holder=_holder(proxy),
    )


def _holder(proxy: Proxy) -> int | None:
    if isinstance(proxy, Lock | RLock) and proxy.locked():
        return life.pid_of(proxy._read_meta())  # noqa: SLF001
    return None
