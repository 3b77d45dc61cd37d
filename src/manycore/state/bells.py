"""Waking who waits: see the rules in `gates`."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from typing import Any, Final

from manycore.base import life

from .proxy import ROWS, Proxy

EVERYBODY: Final = 1 << 62


def ring(proxy: Proxy, txn: Any, reason: bytes, most: int = EVERYBODY) -> int:
    """Wakes who waits for a reason, the longest first; within the transaction that ends it.

    Returns:
        How many were woken.
    """
    rows = proxy._number + ROWS + reason  # noqa: SLF001
    cursor = txn.cursor()
    if not cursor.set_range(rows) or not cursor.key().startswith(rows):
        return 0
    return len(ring_rows(proxy._store.home.gates, txn, rows, most))  # noqa: SLF001


def ring_next(proxy: Proxy, txn: Any, reason: bytes, patience: float) -> str | None:
    """Wakes who has waited longest, within the transaction that lets one of those who wait go on.

    Args:
        proxy: What is waited for.
        txn: The transaction.
        reason: What they wait for.
        patience: Seconds after which who waits should not be passed over any more.

    Returns:
        The name of who was woken, if it has waited longer than that.
    """
    woken = ring_in_line(proxy, txn, reason)
    if woken and time.monotonic() - int(woken[0].rpartition("-")[2]) / 1000 > patience:
        return woken[0]
    return None


def anybody_waits(proxy: Proxy, txn: Any) -> bool:
    """Whether there is a row, for any reason."""
    rows = proxy._number + ROWS  # noqa: SLF001
    cursor = txn.cursor()
    return bool(cursor.set_range(rows)) and bool(cursor.key().startswith(rows))


def ring_in_line(proxy: Proxy, txn: Any, reason: bytes, most: int = 1) -> list[str]:
    """Wakes who has waited longest, of those of whom one can go on at a time; gives their names.

    Who is held by a signal (SIGSTOP) is told too, and does not count: it would hold up the others.
    """
    rows = proxy._number + ROWS + reason  # noqa: SLF001
    cursor = txn.cursor()
    if not cursor.set_range(rows) or not cursor.key().startswith(rows):
        return []
    return ring_rows(proxy._store.home.gates, txn, rows, most, in_line=True)  # noqa: SLF001


def ring_rows(
    gates: str, txn: Any, rows: bytes, most: int = EVERYBODY, *, in_line: bool = False
) -> list[str]:
    """Wakes those whose rows begin so, and removes these; gives the names of the woken."""
    woken: list[str] = []
    cursor = txn.cursor()
    found = cursor.set_range(rows)
    while found and len(woken) < most and cursor.key().startswith(rows):
        name = cursor.value().decode()
        cursor.delete()
        if knock(os.path.join(gates, name)) and not (in_line and _is_stopped(name)):
            woken.append(name)
        found = bool(cursor.key())
    return woken


def _is_stopped(name: str) -> bool:
    process = life.parse_name(name)
    return process is not None and life.is_stopped(process)


def knock(path: str) -> bool:
    """Writes a byte into a pipe; False if nobody has it open, and then it goes."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != errno.ENXIO:  # man 7 fifo: there is no reader
            raise
        with suppress(FileNotFoundError):
            os.unlink(path)
        return False
    try:
        with suppress(BlockingIOError):
            os.write(fd, b".")
    finally:
        os.close(fd)
    return True


def waiting(proxy: Proxy) -> int:
    """Counts the threads of living processes that wait for a container."""
    rows = proxy._store.items(proxy._number + ROWS)  # noqa: SLF001
    makers = (life.parse_name(name.decode()) for _, name in rows)
    return sum(maker is not None and life.is_alive(maker) for maker in makers)


def sweep_pipes(gates: str) -> None:
    """Removes the pipes that processes left when they were killed."""
    with suppress(FileNotFoundError), os.scandir(gates) as found:
        for entry in found:
            maker = life.parse_name(entry.name)
            if maker is None or not life.is_alive(maker):
                with suppress(FileNotFoundError):
                    os.unlink(entry.path)
