"""The parsers behind cpu_count: no text makes them fail, and what is well formed is read back."""

import math
import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from manycore.base.cpus import (
    CgroupMount,
    lineage,
    parse_cgroup,
    parse_mountinfo,
    parse_positive,
    parse_quota,
)

pure = settings(deadline=None)  # a busy machine may stall any example; pytest's timeout guards

# The formats' own pieces in any order get further into the parsers than random characters do.
PIECES = [" ", "\n", ":", "/", "..", ",", "-", " - ", "0", "7", "cpu", "cgroup", "cgroup2", "max"]
anything = st.one_of(
    st.text(st.characters()),
    st.lists(st.sampled_from([*PIECES, "\\040", "\\000", "\\", "/a", "\u0663"])).map("".join),
)

# A cgroup's or directory's name: any characters but "/", NUL and (cgroups only) a newline.
cgroup_names = st.text(st.characters(exclude_characters="/\0\n"), min_size=1).filter(
    lambda name: name not in {".", ".."}
)
cgroup_paths = st.lists(cgroup_names, max_size=5).map(lambda names: "/" + "/".join(names))
mount_points = st.lists(
    st.text(st.characters(exclude_characters="/\0"), min_size=1), min_size=1, max_size=4
).map(lambda names: "/" + "/".join(names))
cgroup_mounts = st.builds(
    CgroupMount, version=st.sampled_from([1, 2]), root=cgroup_paths, point=mount_points
)
other_controllers = st.lists(st.sampled_from(["cpuacct", "cpuset", "memory", "name=cpu"]))


def escape(field: str) -> str:
    return re.sub(r"[ \t\n\\#]", lambda found: f"\\{ord(found[0]):03o}", field)


def mountinfo_line(mount: CgroupMount, optional: list[str], controllers: list[str]) -> str:
    before = ["36", "35", "0:31", escape(mount.root), escape(mount.point), "rw", *optional]
    filesystem = "cgroup" if mount.version == 1 else "cgroup2"
    options = ["rw", *controllers] if mount.version == 1 else ["rw", "nsdelegate"]
    return " ".join([*before, "-", filesystem, filesystem, ",".join(options)])


@pure
@given(cgroup=anything, mountinfo=anything, quota=anything)
def test_no_text_makes_a_parser_fail(cgroup: str, mountinfo: str, quota: str) -> None:
    """Whatever the files hold, the parsers return; what they return can be worked with."""
    for mount in parse_mountinfo(mountinfo):
        for path in parse_cgroup(cgroup).values():
            assert all(found.startswith(mount.point) for found in lineage(mount, path))
    allowed = parse_quota(quota)
    assert allowed is None or allowed >= 1
    number = parse_positive(quota)
    assert number is None or number >= 1


@pure
@given(root=anything, point=anything, path=anything)
def test_no_path_leaves_its_mount(root: str, point: str, path: str) -> None:
    """A lineage starts at the mount point, goes down one name a step and never up."""
    found = lineage(CgroupMount(2, root, point), path)
    assert found[:1] in ([], [point])
    for above, below in pairwise(found):
        assert below.startswith(above + "/")
        assert below.removeprefix(above + "/") not in {"", ".."}


@pure
@given(quota=st.integers(1, 10**9), period=st.integers(1, 10**9), blank=st.sampled_from(" \t\n"))
def test_a_quota_is_rounded_up(quota: int, period: int, blank: str) -> None:
    """Quota and period give the smallest whole number of CPUs that can use the quota up."""
    assert parse_quota(f"{quota}{blank}{period}\n") == math.ceil(quota / period)
    assert parse_quota(f"max {period}\n") is None
    assert parse_quota(f"{-quota} {period}\n") is None


@pure
@given(number=st.integers(1, 10**18 - 1))
def test_whole_numbers_are_read_back(number: int) -> None:
    """Every whole number from 1 that a machine can mean is read as itself, its negative as none."""
    assert parse_positive(str(number)) == number
    assert parse_positive(f" {number}\n") == number
    assert parse_positive(str(-number)) is None


@pure
@given(old=st.none() | cgroup_paths, new=st.none() | cgroup_paths, beside=other_controllers)
def test_cgroups_are_read_back(old: str | None, new: str | None, beside: list[str]) -> None:
    """Our path in either hierarchy comes back whole, whatever the other hierarchies are."""
    lines = [f"{number}:{name}:/other" for number, name in enumerate(beside, 10)]
    lines += [] if old is None else [f"4:{','.join([*beside, 'cpu'])}:{old}"]
    lines += [] if new is None else [f"0::{new}"]
    expected = {version: path for version, path in ((1, old), (2, new)) if path is not None}
    assert parse_cgroup("\n".join([*lines, ""])) == expected


@pure
@given(
    mounts=st.lists(cgroup_mounts, max_size=4, unique_by=lambda mount: mount.point),
    optional=st.lists(st.sampled_from(["shared:1", "master:2", "unbindable"]), max_size=3),
    beside=other_controllers,
)
def test_mounts_are_read_back(
    mounts: list[CgroupMount], optional: list[str], beside: list[str]
) -> None:
    """Every mount that can hold quotas comes back, in order, with its names unescaped."""
    noise = "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    lines = [mountinfo_line(mount, optional, [*beside, "cpu"]) + "\n" for mount in mounts]
    others = [f"1 1 0:1 / /other/{name} rw - cgroup x rw,{name}\n" for name in beside]
    assert parse_mountinfo(noise + "".join(lines + others)) == mounts


@pure
@given(
    point=mount_points,
    above=st.lists(cgroup_names, max_size=3),
    below=st.lists(cgroup_names, max_size=4),
)
def test_a_cgroup_inside_a_mount_is_found(point: str, above: list[str], below: list[str]) -> None:
    """From the mount's root to the cgroup every level is named once, outermost first."""
    mount = CgroupMount(1, "/" + "/".join(above), point)
    found = lineage(mount, "/" + "/".join(above + below))
    assert len(found) == len(below) + 1
    assert found[0] == point
    assert found[-1] == "/".join([point, *below])
