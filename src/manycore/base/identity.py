"""What a process says of itself to whoever looks: its role, its name, its threads.

Guarantees: saying it costs microseconds at a process's and a thread's start and end, and nothing in
between; the process need not answer, so one that hangs in C code can be looked at too.

A process keeps it in a nameless file, as one line that is a Python literal. Whoever may look into
the process finds it by its label in `/proc/PID/fd`. The kernel knows a thread by its native id
alone; the name and Python's ident are known inside only, and are written whenever a thread begins
or ends.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Any, Final

LABEL: Final = "manycore-identity"
_LINK: Final = f"/memfd:{LABEL} (deleted)"
_TRIES: Final = 3  # a line that is half written is whole a moment later

_fd = -1
_facts: dict[str, Any] = {}


class _WatchedThreads(dict[int, threading.Thread]):
    """`threading`'s own table of live threads, which tells when it changes."""

    def __setitem__(self, ident: int, thread: threading.Thread) -> None:
        super().__setitem__(ident, thread)
        _write()

    def __delitem__(self, ident: int) -> None:
        super().__delitem__(ident)
        _write()


def announce(role: str, name: str, *, parent: int | None = None, daemon: bool = False) -> None:
    """Says who this process is; called once, when its life begins."""
    global _fd  # noqa: PLW0603  # it is a fact of the process
    _facts.update(role=role, name=name, parent=parent, daemon=daemon)
    if hasattr(os, "memfd_create"):
        if _fd < 0:
            _fd = os.memfd_create(LABEL, os.MFD_CLOEXEC)
        with threading._active_limbo_lock:  # type: ignore[attr-defined]  # noqa: SLF001
            live = threading._active  # type: ignore[attr-defined]  # noqa: SLF001
            threading._active = _WatchedThreads(live)  # type: ignore[attr-defined]  # noqa: SLF001
            _write()


def read(pid: int) -> dict[str, Any] | None:
    """Gives what a process says of itself; None when it says nothing, or not to us."""
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir(f"/proc/{pid}/fd")
    for name in names:
        path = f"/proc/{pid}/fd/{name}"
        with suppress(OSError):  # closed since we listed it
            if os.readlink(path) == _LINK:
                return _read(path)
    return None


def _read(path: str) -> dict[str, Any] | None:
    import ast  # for whoever looks, not for whoever is looked at

    for _ in range(_TRIES):
        with open(path, errors="replace") as file, suppress(ValueError, SyntaxError):
            facts: dict[str, Any] = ast.literal_eval(file.readline())
            return facts
    return None


def _write() -> None:
    """Writes the line anew. Called with the lock of the table held: it must not ask for it."""
    if _fd < 0:
        return
    table = threading._active  # type: ignore[attr-defined]  # noqa: SLF001
    main = threading.main_thread()
    threads = [
        # the id of the main thread is the process's; after a fork it still has the parent's here
        [thread.name, ident, os.getpid() if thread is main else thread.native_id]
        for ident, thread in list(table.items())
    ]
    with suppress(OSError, ValueError):  # a full memory must not stop a thread
        os.pwrite(_fd, f"{_facts | {'threads': threads}!r}\n".encode(), 0)


def _forget() -> None:
    """In a forked copy: the file is the other's."""
    global _fd  # noqa: PLW0603  # it is a fact of the process
    if _fd >= 0:
        with suppress(OSError):
            os.close(_fd)
        _fd = -1


os.register_at_fork(after_in_child=_forget)
