r"""How many CPUs are ours: the affinity mask and every CPU quota that binds this process.

Rules:

1. `MANYCORE_CPUS` is the last word: when it is set, nothing else is looked at.
2. Otherwise the smallest wins of the scheduler affinity and the quotas of our cgroup and of all
   its ancestors that we can see. The kernel enforces each of them, so one level is not enough.
3. A file that is missing, unreadable or nonsense means "no limit". Only the environment variable,
   which a person wrote, is an error when it is wrong.
4. Nothing is guessed: our cgroup comes from `/proc/self/cgroup`, the place of its files from
   `/proc/self/mountinfo`. A mount that does not contain our cgroup says nothing about us.

The formats, from the Linux kernel's documentation:

- `cpu.max`, version 2 (`Documentation/admin-guide/cgroup-v2.rst`): `max 100000`, `150000 100000`;
  quota and period in microseconds. The namespace section of the same page explains `/../x`.
- `cpu.cfs_quota_us` and `cpu.cfs_period_us`, version 1 (`Documentation/scheduler/sched-bwc.rst`):
  the same two numbers in two files; a quota of -1 is no limit.
- `/proc/self/cgroup` (`Documentation/admin-guide/cgroup-v1/cgroups.rst`): `4:cpu,cpuacct:/path`;
  version 2 is always `0::/path`.
- `/proc/self/mountinfo` (`Documentation/filesystems/proc.rst`): `36 35 0:31 ROOT POINT rw shared:1
  - cgroup cgroup rw,cpu`; blanks and backslashes are written as `\040`, `\011`, `\012`, `\134`.
"""

import os
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

from manycore.errors import SettingsError

Version = Literal[1, 2]
Directory: TypeAlias = str | os.PathLike[str]

QUOTA_FILES: dict[Version, tuple[str, ...]] = {
    1: ("cpu.cfs_quota_us", "cpu.cfs_period_us"),
    2: ("cpu.max",),
}


class CgroupMount(NamedTuple):
    """A mounted cgroup hierarchy, of version 2 or with the controller that was asked for."""

    version: Version
    root: str  # the cgroup that is seen at `point`; not "/" in many containers
    point: str


def cpu_count(*, root: Directory = "/", environ: Mapping[str, str] | None = None) -> int:
    """Return how many CPUs this process may use, at least 1.

    This is the smallest of the scheduler affinity and the CPU quotas (rounded up) of our cgroup
    and its ancestors. The environment variable `MANYCORE_CPUS` overrides them all.

    Args:
        root: The directory that holds `proc` and the mount points; another than `/` only in tests.
        environ: Where `MANYCORE_CPUS` is looked up; `os.environ` when omitted.

    Raises:
        SettingsError: `MANYCORE_CPUS` is set to something else than a whole number from 1.

    Example:
        >>> cpu_count() >= 1
        True
        >>> cpu_count(environ={"MANYCORE_CPUS": "3"})
        3
    """
    chosen = (os.environ if environ is None else environ).get("MANYCORE_CPUS")
    if chosen is not None:
        number = parse_positive(chosen)
        if number is None:
            raise SettingsError(
                "MANYCORE_CPUS", f"{chosen!r} is not a number of CPUs", "give a whole number from 1"
            )
        return number
    return min([_schedulable(), *_quotas(root)])


def parse_positive(text: str) -> int | None:
    """Return the whole number from 1 that `text` spells in ASCII digits, else None."""
    # int() alone would take "1_0" and Arabic digits, and raises on thousands of digits.
    if not re.fullmatch(r"\s*[0-9]{1,18}\s*", text):
        return None
    return int(text) or None


def parse_quota(text: str) -> int | None:
    """Return the CPUs that `"quota period"` allows, rounded up; None when it sets no limit."""
    match [parse_positive(field) for field in text.split()]:
        case [int(quota), int(period)]:
            return -(-quota // period)
        case _:
            return None


def parse_cgroup(text: str, controller: str = "cpu") -> dict[Version, str]:
    """Return our cgroup in each hierarchy of `/proc/self/cgroup` that can hold a controller."""
    paths: dict[Version, str] = {}
    for line in text.split("\n"):  # not splitlines(): a name may hold any other line separator
        match line.split(":", 2):  # at most 2: a name may hold colons
            case ["0", "", path]:
                paths[2] = path
            case [_, controllers, path] if controller in controllers.split(","):
                paths[1] = path
    return paths


def parse_mountinfo(text: str, controller: str = "cpu") -> list[CgroupMount]:
    """Return the mounts of `/proc/self/mountinfo` that can hold a controller."""
    mounts: dict[str, CgroupMount | None] = {}
    for line in text.split("\n"):
        # The lone dash ends a varying number of optional fields. Blanks inside a field are escaped.
        before, _, after = line.partition(" - ")
        match before.split(" "), after.split(" "):
            case [_, _, _, root, point, *_], [filesystem, _, options]:
                point = _unescape(point)
                version = _version(filesystem, options, controller)
                # Even one that is not for us: a later mount hides an earlier one on its point.
                mounts[point] = CgroupMount(version, _unescape(root), point) if version else None
    return [mount for mount in mounts.values() if mount]


def lineage(mount: CgroupMount, path: str) -> list[str]:
    """Return the directories of cgroup `path` and its ancestors in `mount`, outermost first.

    Empty when the mount does not contain the cgroup.
    """
    top, ours = _names(mount.root), _names(path)
    if set(top) == {".."} and len(top) > ours.count(".."):
        # The mount is from outside our cgroup namespace and begins above it: its top is our
        # ancestor, but the names of the levels between are hidden from us.
        return [mount.point]
    below = ours[len(top) :]
    if ours[: len(top)] != top or ".." in below:
        return []
    return ["/".join([mount.point, *below[:depth]]) for depth in range(len(below) + 1)]


def _version(filesystem: str, options: str, controller: str) -> Version | None:
    if filesystem == "cgroup2":
        return 2
    return 1 if filesystem == "cgroup" and controller in options.split(",") else None


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name]


def _unescape(field: str) -> str:
    return re.sub(r"\\([01][0-7]{2})", lambda found: chr(int(found[1], 8)), field)


def _schedulable() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Directory) -> list[int]:
    paths = parse_cgroup(read_below(root, "proc/self/cgroup"))
    quotas: list[int] = []
    for mount in parse_mountinfo(read_below(root, "proc/self/mountinfo")):
        path = paths.get(mount.version)
        for directory in lineage(mount, path) if path else ():
            files = (f"{directory}/{name}" for name in QUOTA_FILES[mount.version])
            quota = parse_quota(" ".join(read_below(root, file) for file in files))
            if quota:
                quotas.append(quota)
    return quotas


def read_below(root: Directory, path: str) -> str:
    """Return the text of a file below a directory that stands for `/`; nothing if it has none."""
    try:
        with open(os.path.join(root, path.lstrip("/")), "rb", buffering=0) as file:
            data = file.read()  # no newline translation: names may hold \r
    except (OSError, ValueError):  # ValueError: a NUL in the path, from a nonsense mountinfo
        return ""
    return data.decode("utf-8", "surrogateescape")
