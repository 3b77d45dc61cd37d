"""The processes of manycore as trees: who started whom, in which role, and what each uses.

The kernel's tree is not the program's: the template forks what a program starts. A process that
says who started it is shown under that one, everything else under its kernel parent.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from . import family, identity

_TICK: Final = os.sysconf("SC_CLK_TCK")  # a second
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")  # bytes
_OURS: Final = re.compile(r"^manycore: (\w+)|from manycore\.(\S+) import main|bin/manycore\0(\w+)")
_STARTED: Final = {"process", "template", "worker"}  # by a program, which may be any


@dataclass(frozen=True, slots=True)
class ProcessNode:
    """A process, with what it started.

    Attributes:
        pid: Its id.
        role: `process`, `template`, `supervisor`, `worker`, a subcommand of the command, or
            `program` for anything else.
        name: What it is called.
        daemon: Whether it ends with its parent; None where nobody said so.
        age: Seconds since it began.
        cpu_seconds: The CPU time it used.
        rss: Bytes of it that are in memory.
        state: One letter, as `ps` shows it.
        children: What it started.
    """

    pid: int
    role: str
    name: str
    daemon: bool | None
    age: float
    cpu_seconds: float
    rss: int
    state: str
    children: tuple[ProcessNode, ...] = ()

    def walk(self) -> Iterator[ProcessNode]:
        """Gives this process and all below, each before its children."""
        yield self
        for child in self.children:
            yield from child.walk()


def tree(pid: int | None = None) -> ProcessNode:
    """Gives the tree of what a process started.

    Args:
        pid: The process; this one when omitted.

    Raises:
        ProcessLookupError: When there is none.

    Example:
        >>> tree().pid == os.getpid()
        True
    """
    people = family.everybody()
    root = os.getpid() if pid is None else pid
    if root not in people:
        raise ProcessLookupError(f"there is no process {root}")
    told = {number: _told(number) for number in _below(people, root)}
    return _node(root, people, told, _parents(people, told))


def forest() -> list[ProcessNode]:
    """Gives every tree of this machine that manycore has a part in, oldest first."""
    people = family.everybody()
    told = {pid: _told(pid) for pid in people}
    parents = _parents(people, told)
    ours = {pid for pid, facts in told.items() if facts["role"] != "program"}
    roots = set()
    for pid in ours:
        top = pid
        while parents.get(top) in ours:
            top = parents[top]
        if told[top]["role"] in _STARTED and parents.get(top, 0) > 1:
            top = parents[top]  # the program that started it
        roots.add(top)
    tops = [root for root in roots if not _has_above(root, roots, parents)]
    nodes = [_node(pid, people, told, parents) for pid in tops if pid in people]
    return sorted(nodes, key=lambda node: -node.age)


def _has_above(pid: int, roots: set[int], parents: dict[int, int]) -> bool:
    seen = {pid}
    while (pid := parents.get(pid, 0)) and pid not in seen:
        if pid in roots:
            return True
        seen.add(pid)
    return False


def _below(people: dict[int, family.Kin], root: int) -> set[int]:
    found, fresh = {root}, {root}
    while fresh:
        fresh = {kin.pid for kin in people.values() if kin.parent in fresh} - found
        found |= fresh
    return found


def _parents(people: dict[int, family.Kin], told: dict[int, dict[str, Any]]) -> dict[int, int]:
    """Gives each process's parent as the program sees it."""
    parents = {}
    for pid, kin in people.items():
        said = told.get(pid, {}).get("parent")
        parents[pid] = said if said in people and said != pid else kin.parent
    return parents


def _told(pid: int) -> dict[str, Any]:
    """Gives the role and the name of a process, by what it says or by its command line."""
    said = identity.read(pid)
    if said is not None:
        return said
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            line = file.read().decode(errors="replace")
    except OSError:
        line = ""
    found = _OURS.search(line)
    words = " ".join(line.replace("\0", " ").split())
    if found is None:
        return {"role": "program", "name": words}
    role = next(part for part in found.groups() if part)
    return {"role": role.rpartition(".")[2], "name": words.removeprefix("manycore: ")}


def _node(
    pid: int,
    people: dict[int, family.Kin],
    told: dict[int, dict[str, Any]],
    parents: dict[int, int],
) -> ProcessNode:
    below = sorted(child for child, parent in parents.items() if parent == pid and child in told)
    kin, facts = people[pid], told[pid]
    cpu_seconds, rss = _usage(pid)
    return ProcessNode(
        pid=pid,
        role=facts["role"],
        name=facts["name"],
        daemon=facts.get("daemon"),
        age=max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - kin.started / _TICK),
        cpu_seconds=cpu_seconds,
        rss=rss,
        state=kin.state,
        children=tuple(_node(child, people, told, parents) for child in below),
    )


def _usage(pid: int) -> tuple[float, int]:
    """Gives the CPU seconds and the resident bytes; zeros for one that has just ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0.0, 0
    return (int(fields[11]) + int(fields[12])) / _TICK, int(fields[21]) * _PAGE
