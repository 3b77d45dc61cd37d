"""The duty of process 1: to reap what nobody else will.

In a container the first process inherits every orphan, and what it does not reap stays a zombie.

Rule: only the dead are touched, by their number, and never one that its owner waits for. A process
that was started here is reaped by whoever started it, and gets `PATIENCE` seconds for that.
"""

from __future__ import annotations

import os
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import Final

PATIENCE: Final = 1.0  # seconds from a death until nobody seems to wait for it


def is_first() -> bool:
    """Whether this is process 1 of its namespace."""
    return os.getpid() == 1


def reap(ours: Container[int]) -> list[int]:
    """Reaps the dead children that are not ours; gives their process ids."""
    reaped = []
    for pid in _children():
        if pid not in ours:
            with suppress(ChildProcessError):  # whoever started it was faster
                if os.waitpid(pid, os.WNOHANG)[0]:
                    reaped.append(pid)
    return reaped


def _children() -> list[int]:
    found: list[int] = []
    for listing in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            found.extend(map(int, listing.read_text().split()))
    return found
