"""Who descends from whom, as the kernel tells it; and the end of a whole tree.

Guarantee: nobody is killed by a number alone. A process id can become another's; a process is
known by its id and the moment it began, and is signalled through a pidfd.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, NamedTuple

_ROUNDS: Final = 50  # looks for what was started while we killed; each takes a millisecond


class Kin(NamedTuple):
    """A process.

    Attributes:
        pid: Its id.
        parent: Its parent's id.
        group: The id of its group's leader.
        started: When it began, in clock ticks since the machine's start.
        state: One letter, as `ps` shows it.
    """

    pid: int
    parent: int
    group: int
    started: int
    state: str


def look_at(pid: int) -> Kin | None:
    """Gives one process; None when there is none, or none any more."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return parse_stat(file.read(4096))
    except (OSError, ValueError):
        return None


def everybody() -> dict[int, Kin]:
    """Gives every process of this machine, or of what we see of it."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (kin := look_at(int(name))):
            found[kin.pid] = kin
    return found


def parse_stat(line: bytes) -> Kin:
    """Reads a line of `/proc/PID/stat`; the name in it may hold anything, brackets too.

    Raises:
        ValueError: When it is no such line.

    Example:
        >>> parse_stat(b"7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 99 0")
        Kin(pid=7, parent=1, group=7, started=99, state='S')
    """
    pid, _, rest = line.partition(b" ")
    fields = rest.rpartition(b")")[2].split()
    if len(fields) < 20:  # noqa: PLR2004  # the last that we look at
        raise ValueError(f"{line!r} is no line of /proc/PID/stat")
    return Kin(int(pid), int(fields[1]), int(fields[2]), int(fields[19]), fields[0].decode())


def members(people: dict[int, Kin], roots: Iterable[Kin]) -> set[Kin]:
    """Gives what descends from some processes, and what is in the groups that they lead.

    Args:
        people: From `everybody`.
        roots: Processes that may have ended since they were looked at.
    """
    found: set[Kin] = set()
    known = set(roots)
    while known:
        ids = {kin.pid for kin in known if _is_still(kin, people)}
        known = {
            kin
            for kin in people.values()
            if (kin.parent in ids or kin.group in ids) and kin not in found
        }
        found |= known
    return found


def _is_still(kin: Kin, people: dict[int, Kin]) -> bool:
    """Whether an id has not become another's. A group keeps its leader's id from being given."""
    now = people.get(kin.pid)
    return now is None or now.started == kin.started


def end(known: set[Kin]) -> None:
    """Kills processes, all that descends from them and their groups, until nobody is left."""
    for _ in range(_ROUNDS):
        people = everybody()
        known |= members(people, known)
        alive = [
            now
            for kin in known
            if (now := people.get(kin.pid)) and now.started == kin.started and now.state not in "ZX"
        ]
        if not alive:
            return
        for kin in alive:
            _kill(kin)


def _kill(kin: Kin) -> None:
    with suppress(ProcessLookupError, PermissionError):
        pidfd = os.pidfd_open(kin.pid)
        try:
            now = look_at(kin.pid)
            if now is not None and now.started == kin.started:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)
