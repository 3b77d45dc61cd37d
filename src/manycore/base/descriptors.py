"""Descriptors: how many this process may have open, and pipes that never wait."""

from __future__ import annotations

import os
import resource


def allow(wanted: int) -> None:
    """Raises the soft limit towards the hard one; the default of 1,024 is made for select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def pipe() -> tuple[int, int]:
    """Opens a pipe whose ends do not block, and that no program we run gets."""
    if hasattr(os, "pipe2"):
        return os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends
