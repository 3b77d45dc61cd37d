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

from .cpus import CgroupMount, Directory, lineage, read_below

_FILES: Final = ((2, "memory.events"), (1, "memory.oom_control"))


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
    paths = _cgroups(root)
    for version, name in _FILES:
        path = paths.get(version)
        for mount in _mounts(root, version) if path else ():
            for directory in reversed(lineage(mount, path or "/")):  # ours first
                file = os.path.join(root, f"{directory}/{name}".lstrip("/"))
                if os.path.isfile(file):
                    return file
    return None


def _cgroups(root: Directory) -> dict[int, str]:
    """Gives our cgroup in each hierarchy that can count."""
    paths: dict[int, str] = {}
    for line in read_below(root, "proc/self/cgroup").split("\n"):
        match line.split(":", 2):
            case ["0", "", path]:
                paths[2] = path
            case [_, controllers, path] if "memory" in controllers.split(","):
                paths[1] = path
    return paths


def _mounts(root: Directory, version: int) -> list[CgroupMount]:
    found = []
    for line in read_below(root, "proc/self/mountinfo").split("\n"):
        before, _, after = line.partition(" - ")
        match before.split(" "), after.split(" "):
            case [_, _, _, top, point, *_], ["cgroup2", *_] if version == 2:  # noqa: PLR2004
                found.append(CgroupMount(2, top, point))
            case [_, _, _, top, point, *_], ["cgroup", _, options] if version == 1:
                if "memory" in options.split(","):
                    found.append(CgroupMount(1, top, point))
    return found
