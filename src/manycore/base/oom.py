"""Whether the kernel's out-of-memory killer has struck in our cgroup.

The kernel counts its kills in a file of the cgroup (`Documentation/admin-guide/cgroup-v2.rst`:
`memory.events`, the line `oom_kill`; version 1: `memory.oom_control`, the same line). A count that
grew between a process's start and its death by SIGKILL is the verdict; nothing tells it by name.
"""

from __future__ import annotations

import os
import signal
from functools import cache
from typing import Final

from .cpus import Directory, Version, lineage, parse_cgroup, parse_mountinfo, read_below

_FILES: Final[dict[Version, str]] = {1: "memory.oom_control", 2: "memory.events"}


def kills(root: Directory = "/") -> int | None:
    """Counts the processes that the killer has ended in our cgroup; None when nobody counts.

    Args:
        root: The directory that holds `proc` and the mount points; another than `/` only in tests.
    """
    file = _counter(os.fspath(root))
    if file is None:
        return None
    try:
        with open(file, "rb", buffering=0) as counter:
            return parse_kills(counter.read(4096))
    except OSError:
        return None


def verdict(exitcode: int, kills_before: int | None, root: Directory = "/") -> str:
    """Says whether the killer is to blame for a death, as far as that is known.

    Args:
        exitcode: How the process ended.
        kills_before: What `kills` gave when it was started.
        root: As for `kills`.

    Returns:
        A sentence without its subject, or nothing.
    """
    if exitcode != -signal.SIGKILL or kills_before is None:
        return ""
    now = kills(root)
    if now is None or now <= kills_before:
        return ""
    return (
        "by the kernel's out-of-memory killer, it seems "
        f"(kills in this cgroup since the process was started: {now - kills_before})"
    )


def parse_kills(text: bytes) -> int | None:
    r"""Reads the count out of either file.

    Example:
        >>> parse_kills(b"low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n")
        2
    """
    for line in text.splitlines():
        match line.split():
            case [b"oom_kill", count] if count.isdigit():
                return int(count)
    return None


@cache
def _counter(root: str) -> str | None:
    """Finds the file once: a process that is moved to another cgroup meanwhile is a rare thing."""
    paths = parse_cgroup(read_below(root, "proc/self/cgroup"), "memory")
    mounts = parse_mountinfo(read_below(root, "proc/self/mountinfo"), "memory")
    for mount in sorted(mounts, key=lambda mount: mount.version, reverse=True):
        path = paths.get(mount.version)
        for directory in reversed(lineage(mount, path) if path else []):  # ours first
            file = os.path.join(root, f"{directory}/{_FILES[mount.version]}".lstrip("/"))
            if os.path.isfile(file):
                return file
    return None
