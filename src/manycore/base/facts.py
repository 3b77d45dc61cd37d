"""What a process uses and does, as the kernel and the process itself tell it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil

from . import identity


@dataclass(frozen=True, slots=True)
class ThreadFacts:
    """One thread.

    Attributes:
        native_id: The kernel's id of it.
        ident: Python's; None for one that Python did not start, or that nobody told us of.
        name: Its name in Python, or else in the kernel.
        cpu_seconds: The CPU time it used.
    """

    native_id: int
    ident: int | None
    name: str
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class ProcessStatistics:
    """A process, at one moment.

    Attributes:
        pid: Its id.
        name: What it is called.
        state: What it does, in the kernel's words: `running`, `sleeping`, `stopped`, …
        started: When it began, in seconds since 1970.
        age: Seconds since then.
        cpu_seconds: The CPU time it used, in user code and in the kernel.
        rss: Bytes of it that are in memory, with what it shares.
        uss: Bytes that would be free without it; None where the kernel does not tell us.
        threads: Its threads.
        open_files: How many descriptors are open in it; None where the kernel does not tell us.
        children: The ids of its children.
    """

    pid: int
    name: str
    state: str
    started: float
    age: float
    cpu_seconds: float
    rss: int
    uss: int | None
    threads: tuple[ThreadFacts, ...]
    open_files: int | None
    children: tuple[int, ...]


def read_statistics(pid: int) -> ProcessStatistics:
    """Looks at a process.

    Raises:
        ProcessLookupError: When there is none.
        PermissionError: When it is not ours to look at.

    Example:
        >>> import os
        >>> read_statistics(os.getpid()).threads[0].native_id == os.getpid()
        True
    """
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            started = process.create_time()
            told = identity.read(pid) or {}
            return ProcessStatistics(
                pid=pid,
                name=told.get("name") or process.name(),
                state=process.status(),
                started=started,
                age=max(0.0, time.time() - started),
                cpu_seconds=times.user + times.system,
                rss=process.memory_info().rss,
                uss=_uss(process),
                threads=tuple(_threads(process, told.get("threads", []))),
                open_files=_open_files(process),
                children=tuple(child.pid for child in process.children()),
            )
    except psutil.NoSuchProcess:
        raise ProcessLookupError(f"there is no process {pid}") from None
    except psutil.AccessDenied:
        raise PermissionError(f"process {pid} is not ours to look at") from None


def _uss(process: psutil.Process) -> int | None:
    try:
        uss: int = process.memory_full_info().uss
    except (psutil.AccessDenied, AttributeError):
        return None
    return uss


def _open_files(process: psutil.Process) -> int | None:
    try:
        return process.num_fds()
    except psutil.AccessDenied:
        return None


def _threads(process: psutil.Process, told: list[list[object]]) -> list[ThreadFacts]:
    inside = {native: (name, ident) for name, ident, native in told}
    found = []
    for thread in process.threads():
        name, ident = inside.get(thread.id, (None, None))
        found.append(
            ThreadFacts(
                native_id=thread.id,
                ident=ident if isinstance(ident, int) else None,
                name=str(name) if name is not None else _kernel_name(process.pid, thread.id),
                cpu_seconds=thread.user_time + thread.system_time,
            )
        )
    # the main thread first: the kernel's order is that of the ids as text
    return sorted(found, key=lambda thread: (thread.native_id != process.pid, thread.native_id))


def _kernel_name(pid: int, native_id: int) -> str:
    try:
        with open(f"/proc/{pid}/task/{native_id}/comm") as file:
            return file.read().strip()
    except OSError:  # it has ended meanwhile
        return ""
