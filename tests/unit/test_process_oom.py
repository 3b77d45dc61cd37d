"""The verdict over a death: the out-of-memory killer's counters, on fabricated machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from manycore.base import oom

V2 = "41 31 0:38 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
V1 = "33 31 0:30 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory\n"


def machine(root: Path, cgroup: str, mountinfo: str, files: dict[str, str]) -> Path:
    tree = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mountinfo, **files}
    for name, content in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "file"),
    [
        ("0::/work\n", V2, "sys/fs/cgroup/work/memory.events"),
        ("4:memory:/work\n0::/\n", V1, "sys/fs/cgroup/memory/work/memory.oom_control"),
        ("4:memory:/work\n0::/\n", V1 + V2, "sys/fs/cgroup/memory/work/memory.oom_control"),
    ],
)
class TestBothVersions:
    def test_a_count_that_grew_is_a_verdict(
        self, tmp_path: Path, cgroup: str, mountinfo: str, file: str
    ) -> None:
        """A kill that was counted while a process lived that SIGKILL ended is held against it."""
        root = machine(tmp_path, cgroup, mountinfo, {file: "oom_kill_disable 0\noom_kill 1\n"})
        before = oom.kills(root)
        assert before == 1
        assert oom.verdict(-9, before, root) == ""
        (root / file).write_text("oom_kill 3\n")
        assert "out-of-memory killer" in oom.verdict(-9, before, root)
        assert "2 times" in oom.verdict(-9, before, root)

    def test_other_deaths_are_not_its(
        self, tmp_path: Path, cgroup: str, mountinfo: str, file: str
    ) -> None:
        """The killer sends SIGKILL and nothing else."""
        root = machine(tmp_path, cgroup, mountinfo, {file: "oom_kill 1\n"})
        assert oom.verdict(-11, 0, root) == oom.verdict(1, 0, root) == ""


class TestNobodyCounts:
    @pytest.mark.parametrize("cgroup", ["", "nonsense", "0::/elsewhere\n", ":::\n\n"])
    def test_no_verdict(self, tmp_path: Path, cgroup: str) -> None:
        """Without a counter nothing is guessed."""
        root = machine(tmp_path, cgroup, "nonsense\n" + V2, {})
        assert oom.kills(root) is None
        assert oom.verdict(-9, None, root) == ""

    @pytest.mark.parametrize("text", [b"", b"oom_kill", b"oom_kill x", b"oom_kill -1", b"\xff 1"])
    def test_a_nonsense_counter(self, text: bytes) -> None:
        """A file that is no counter counts nothing."""
        assert oom.parse_kills(text) is None
