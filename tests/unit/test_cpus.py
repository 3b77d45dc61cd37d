"""How many CPUs are ours, on fabricated machines and on this one."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from manycore.base import cpus
from manycore.base.cpus import CgroupMount, cpu_count, lineage, parse_cgroup, parse_mountinfo
from manycore.errors import SettingsError

AFFINITY = 64  # more than any quota below, so that a quota decides wherever one binds

Machine = Callable[..., int]


@pytest.fixture
def count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Build a machine under tmp_path and count the CPUs a process has there."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(AFFINITY)), raising=False)

    def build_and_count(
        *,
        cgroup: str | bytes = "",
        mountinfo: str | bytes = "",
        files: Mapping[str, str | bytes] | None = None,
    ) -> int:
        tree = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mountinfo, **(files or {})}
        for name, content in tree.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        return cpu_count(root=tmp_path, environ={})

    return build_and_count


def v1(point: str, *, root: str = "/", controllers: str = "cpu,cpuacct") -> str:
    return f"33 31 0:30 {root} {point} rw,nosuid shared:9 - cgroup cgroup rw,{controllers}\n"


def v2(point: str, *, root: str = "/") -> str:
    return f"41 31 0:38 {root} {point} rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw\n"


def cfs(directory: str, quota: str, period: str = "100000") -> dict[str, str]:
    return {
        f"{directory}/cpu.cfs_quota_us": f"{quota}\n",
        f"{directory}/cpu.cfs_period_us": f"{period}\n",
    }


class TestVersion2:
    def test_quota_of_our_own_cgroup(self, count: Machine) -> None:
        """cpu.max of the cgroup that /proc/self/cgroup names is a limit."""
        found = count(
            cgroup="0::/work.slice\n",
            mountinfo=v2("/sys/fs/cgroup"),
            files={"sys/fs/cgroup/work.slice/cpu.max": "300000 100000\n"},
        )
        assert found == 3

    def test_quota_is_rounded_up(self, count: Machine) -> None:
        """One and a half CPUs keep two workers busy; half a CPU still is one."""
        machine = {"cgroup": "0::/a\n", "mountinfo": v2("/sys/fs/cgroup")}
        assert count(**machine, files={"sys/fs/cgroup/a/cpu.max": "150000 100000\n"}) == 2
        assert count(**machine, files={"sys/fs/cgroup/a/cpu.max": "50000 100000\n"}) == 1
        assert count(**machine, files={"sys/fs/cgroup/a/cpu.max": "1000 1000000\n"}) == 1

    def test_max_is_no_limit(self, count: Machine) -> None:
        """A quota of "max" leaves the affinity alone."""
        found = count(
            cgroup="0::/a\n",
            mountinfo=v2("/sys/fs/cgroup"),
            files={"sys/fs/cgroup/a/cpu.max": "max 100000\n"},
        )
        assert found == AFFINITY

    @pytest.mark.parametrize("tightest", ["a", "a/b", "a/b/c"])
    def test_the_tightest_ancestor_wins(self, count: Machine, tightest: str) -> None:
        """The kernel enforces every level, so the smallest quota of all levels counts."""
        levels = dict.fromkeys(["a", "a/b", "a/b/c"], "800000 100000")
        levels[tightest] = "200000 100000"
        found = count(
            cgroup="0::/a/b/c\n",
            mountinfo=v2("/sys/fs/cgroup"),
            files={f"sys/fs/cgroup/{name}/cpu.max": quota for name, quota in levels.items()},
        )
        assert found == 2

    def test_an_ancestor_binds_where_our_own_level_has_no_file(self, count: Machine) -> None:
        """A leaf without the cpu controller has no cpu.max, but its parent's quota binds it."""
        found = count(
            cgroup="0::/a/leaf\n",
            mountinfo=v2("/sys/fs/cgroup"),
            files={"sys/fs/cgroup/a/cpu.max": "200000 100000"},
        )
        assert found == 2

    def test_a_sibling_is_not_ours(self, count: Machine) -> None:
        """Quotas of cgroups beside and below ours are not looked at."""
        found = count(
            cgroup="0::/a\n",
            mountinfo=v2("/sys/fs/cgroup"),
            files={
                "sys/fs/cgroup/b/cpu.max": "100000 100000",
                "sys/fs/cgroup/a/below/cpu.max": "100000 100000",
            },
        )
        assert found == AFFINITY

    def test_inside_a_cgroup_namespace(self, count: Machine) -> None:
        """In a container with its own namespace our cgroup is "/": the mount point itself."""
        found = count(
            cgroup="0::/\n",
            mountinfo=v2("/sys/fs/cgroup"),
            files={"sys/fs/cgroup/cpu.max": "200000 100000"},
        )
        assert found == 2

    def test_a_cgroup_outside_the_namespace_root_is_not_guessed(self, count: Machine) -> None:
        """A process that joined from outside is not bound by the quotas of the mount it sees."""
        found = count(
            cgroup="0::/../x\n",
            mountinfo=v2("/sys/fs/cgroup"),
            files={
                "sys/fs/cgroup/cpu.max": "100000 100000",
                "sys/fs/cgroup/x/cpu.max": "100000 100000",
                "sys/fs/x/cpu.max": "100000 100000",
            },
        )
        assert found == AFFINITY

    def test_a_mount_from_outside_the_namespace_contains_us(self, count: Machine) -> None:
        """A path and a mount root that leave the namespace by the same steps are comparable."""
        found = count(
            cgroup="0::/../x\n",
            mountinfo=v2("/sys/fs/cgroup", root="/.."),
            files={"sys/fs/cgroup/x/cpu.max": "200000 100000"},
        )
        assert found == 2

    def test_a_mount_that_begins_above_the_namespace(self, count: Machine) -> None:
        """Of a mount that begins above our namespace only the top is known to be our ancestor."""
        found = count(
            cgroup="0::/a\n",
            mountinfo=v2("/sys/fs/cgroup", root="/../.."),
            files={
                "sys/fs/cgroup/cpu.max": "400000 100000",
                "sys/fs/cgroup/a/cpu.max": "100000 100000",
            },
        )
        assert found == 4


class TestVersion1:
    def test_quota_on_a_mount_of_several_controllers(self, count: Machine) -> None:
        """The cpu controller is found in "cpu,cpuacct", in either order."""
        found = count(
            cgroup="5:cpuacct,cpu:/job\n4:memory:/elsewhere\n",
            mountinfo=v1("/cgroups/both"),
            files=cfs("cgroups/both/job", "250000"),
        )
        assert found == 3

    def test_minus_one_is_no_limit(self, count: Machine) -> None:
        """A quota of -1 leaves the affinity alone."""
        found = count(
            cgroup="5:cpu:/job\n",
            mountinfo=v1("/cgroups/cpu", controllers="cpu"),
            files=cfs("cgroups/cpu/job", "-1"),
        )
        assert found == AFFINITY

    def test_ancestors_count(self, count: Machine) -> None:
        """An unlimited job inside a limited group has the group's quota."""
        found = count(
            cgroup="5:cpu:/group/job\n",
            mountinfo=v1("/cgroups/cpu", controllers="cpu"),
            files={**cfs("cgroups/cpu/group/job", "-1"), **cfs("cgroups/cpu/group", "200000")},
        )
        assert found == 2

    def test_docker_mounts_our_cgroup_at_the_mount_point(self, count: Machine) -> None:
        """Where the mount's root is our cgroup, its files are at the mount point itself."""
        found = count(
            cgroup="4:cpu,cpuacct:/docker/abc\n",
            mountinfo=v1("/sys/fs/cgroup/cpu,cpuacct", root="/docker/abc"),
            files=cfs("sys/fs/cgroup/cpu,cpuacct", "150000"),
        )
        assert found == 2

    def test_a_cgroup_below_dockers_mount_root(self, count: Machine) -> None:
        """A process in a child of the container's cgroup is found relative to the mount's root."""
        found = count(
            cgroup="4:cpu,cpuacct:/docker/abc/child\n",
            mountinfo=v1("/sys/fs/cgroup/cpu", root="/docker/abc"),
            files={
                **cfs("sys/fs/cgroup/cpu/child", "100000"),
                **cfs("sys/fs/cgroup/cpu", "200000"),
            },
        )
        assert found == 1

    def test_a_mount_of_another_cgroup_says_nothing(self, count: Machine) -> None:
        """/docker/abc is not inside /docker/ab, however alike their names."""
        found = count(
            cgroup="4:cpu:/docker/abc\n",
            mountinfo=v1("/sys/fs/cgroup/cpu", root="/docker/ab", controllers="cpu"),
            files=cfs("sys/fs/cgroup/cpu", "100000"),
        )
        assert found == AFFINITY

    def test_cpuset_and_cpuacct_are_not_cpu(self, count: Machine) -> None:
        """Controllers are compared by whole names."""
        found = count(
            cgroup="3:cpuset:/job\n2:cpuacct:/job\n1:name=cpu:/job\n",
            mountinfo=v1("/c/cpuset", controllers="cpuset") + v1("/c/acct", controllers="cpuacct"),
            files={**cfs("c/cpuset/job", "100000"), **cfs("c/acct/job", "100000")},
        )
        assert found == AFFINITY


class TestHybrid:
    """systemd's hybrid layout: controllers on version 1, an empty version 2 beside them."""

    CGROUP = "5:cpu,cpuacct:/job\n1:name=systemd:/init.scope\n0::/init.scope\n"
    MOUNTINFO = (
        "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
        "31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"
        + v2("/sys/fs/cgroup/unified")
        + v1("/sys/fs/cgroup/systemd", controllers="xattr,name=systemd")
        + v1("/sys/fs/cgroup/cpu,cpuacct")
    )

    def test_the_quota_is_on_version_1(self, count: Machine) -> None:
        """Version 2 has no cpu.max there; the quota of version 1 is found."""
        found = count(
            cgroup=self.CGROUP,
            mountinfo=self.MOUNTINFO,
            files={
                "sys/fs/cgroup/unified/init.scope/cgroup.procs": "1\n",
                **cfs("sys/fs/cgroup/cpu,cpuacct/job", "200000"),
            },
        )
        assert found == 2

    def test_the_quota_is_on_version_2(self, count: Machine) -> None:
        """With the cpu controller on version 2, each hierarchy is searched with its own path."""
        found = count(
            cgroup="4:memory:/job\n0::/init.scope\n",
            mountinfo=v1("/sys/fs/cgroup/memory", controllers="memory")
            + v2("/sys/fs/cgroup/unified"),
            files={
                "sys/fs/cgroup/unified/init.scope/cpu.max": "300000 100000",
                "sys/fs/cgroup/unified/job/cpu.max": "100000 100000",
            },
        )
        assert found == 3


class TestUnusualNames:
    def test_octal_escapes_in_mountinfo(self, count: Machine) -> None:
        r"""A blank (\040), a tab (\011) and a backslash (\134) in root and point are read back."""
        found = count(
            cgroup="0::/my job/a\\x2db\n",
            mountinfo=v2(r"/mnt/c\040g\011x", root=r"/my\040job/a\134x2db"),
            files={"mnt/c g\tx/cpu.max": "200000 100000"},
        )
        assert found == 2

    def test_an_escaped_backslash_starts_no_escape(self) -> None:
        r"""\134040 is a backslash and "040", not a blank."""
        assert parse_mountinfo(v2(r"/a\134040")) == [CgroupMount(2, "/", r"/a\040")]

    def test_colons_and_line_separators_in_a_cgroup_name(self, count: Machine) -> None:
        """Only the first two colons are separators, and only a newline ends a line."""
        found = count(
            cgroup="0::/a:b:c/d\x0b\x85\re\n",
            mountinfo=v2("/cg"),
            files={"cg/a:b:c/d\x0b\x85\re/cpu.max": "200000 100000"},
        )
        assert found == 2

    def test_bytes_that_are_not_utf8(self, count: Machine, tmp_path: Path) -> None:
        """Names are bytes to the kernel; one that is not text is found all the same."""
        directory = os.fsencode(tmp_path) + b"/cg/\xff"
        try:
            os.makedirs(directory)
        except OSError:
            pytest.skip("this file system takes only UTF-8 names")
        Path(os.fsdecode(directory), "cpu.max").write_text("200000 100000")
        assert count(cgroup=b"0::/\xff\n", mountinfo=v2("/cg")) == 2


class TestMounts:
    def test_a_mount_point_that_does_not_exist(self, count: Machine) -> None:
        """A mount that cannot be reached is no limit; the reachable one beside it still counts."""
        mountinfo = v2("/gone")
        assert count(cgroup="0::/a\n", mountinfo=mountinfo) == AFFINITY
        found = count(
            cgroup="0::/a\n",
            mountinfo=mountinfo + v2("/here"),
            files={"here/a/cpu.max": "200000 100000"},
        )
        assert found == 2

    def test_a_later_mount_hides_an_earlier_one(self) -> None:
        """What is mounted last on a point is what its files belong to."""
        assert parse_mountinfo(v2("/cg", root="/../..") + v2("/cg")) == [CgroupMount(2, "/", "/cg")]
        assert parse_mountinfo(v2("/cg") + "9 1 0:5 / /cg rw - tmpfs tmpfs rw\n") == []

    def test_optional_fields_vary(self) -> None:
        """None, one or several optional fields may stand before the dash."""
        for optional in ("", "shared:1 ", "shared:1 master:2 propagate_from:3 unbindable "):
            line = f"36 35 98:0 / /cg rw {optional}- cgroup2 none rw,nsdelegate"
            assert parse_mountinfo(line) == [CgroupMount(2, "/", "/cg")]

    def test_an_empty_source(self) -> None:
        """A mount made with an empty source has an empty field, and is a mount all the same."""
        assert parse_mountinfo("36 35 98:0 / /cg rw - cgroup  rw,cpu") == [
            CgroupMount(1, "/", "/cg")
        ]

    def test_lineage_is_outermost_first(self) -> None:
        """The mount point comes first and our own cgroup last."""
        mount = CgroupMount(2, "/docker", "/cg")
        assert lineage(mount, "/docker/a/b") == ["/cg", "/cg/a", "/cg/a/b"]
        assert lineage(mount, "/docker") == ["/cg"]
        assert lineage(mount, "/") == []

    def test_hierarchies_without_quotas_are_left_out(self) -> None:
        """Of all hierarchies only version 2 and the cpu controller's can hold quotas."""
        text = "9:name=systemd:/\n4:memory:/m\n3:cpu:/c\n2:cpuset:/s\n1:cpuacct:/a\n0::/u\n"
        assert parse_cgroup(text) == {1: "/c", 2: "/u"}
        others = v1("/a", controllers="cpuacct") + v1("/s", controllers="cpuset")
        assert parse_mountinfo(others) == []


class TestBrokenFiles:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\n",
            b"max",
            b"150000",
            b"150000 100000 5",
            b"150000 0",
            b"0 100000",
            b"-5 100000",
            b"1.5 100000",
            b"1_0 100000",
            b"lots of CPUs",
            b"\xff\xfe\x00\x01",
            "\u0663 1".encode(),
            b"9" * 5000 + b" 1",
        ],
    )
    def test_a_nonsense_quota_is_no_limit(self, count: Machine, content: bytes) -> None:
        """A quota that is not two positive whole numbers is not obeyed, and not an error."""
        assert (
            count(cgroup="0::/a\n", mountinfo=v2("/cg"), files={"cg/a/cpu.max": content})
            == AFFINITY
        )

    @pytest.mark.parametrize("name", ["cpu.cfs_quota_us", "cpu.cfs_period_us"])
    def test_half_a_version_1_quota_is_no_limit(self, count: Machine, name: str) -> None:
        """A quota without a period, or the reverse, says nothing."""
        assert (
            count(cgroup="1:cpu:/a\n", mountinfo=v1("/cg"), files={f"cg/a/{name}": "100000\n"})
            == AFFINITY
        )

    def test_an_unreadable_quota_is_no_limit(self, count: Machine, tmp_path: Path) -> None:
        """A cpu.max that cannot be read is not an error, and its ancestors still count."""
        (tmp_path / "cg/a/cpu.max").mkdir(parents=True)  # unreadable even for root
        machine = {"cgroup": "0::/a\n", "mountinfo": v2("/cg")}
        assert count(**machine) == AFFINITY
        assert count(**machine, files={"cg/cpu.max": "200000 100000"}) == 2

    @pytest.mark.usefixtures("count")  # for its affinity
    def test_no_proc_at_all(self, tmp_path: Path) -> None:
        """Without /proc, as in a bare chroot, the affinity decides."""
        assert cpu_count(root=tmp_path / "nothing", environ={}) == AFFINITY

    @pytest.mark.parametrize(
        "nonsense", [b"", b"\n\n", b"::::", b"0::", b" - ", b"a b c d e f - cgroup2 x y", b"\xff\0"]
    )
    def test_nonsense_in_proc_is_no_limit(self, count: Machine, nonsense: bytes) -> None:
        """Neither file of /proc can make it fail."""
        assert count(cgroup=nonsense, mountinfo=v2("/cg")) == AFFINITY
        assert count(cgroup="0::/a\n", mountinfo=nonsense) == AFFINITY
        assert count(cgroup=nonsense, mountinfo=nonsense) == AFFINITY

    def test_a_nul_in_a_mount_point(self, count: Machine) -> None:
        r"""A mount point with \000 cannot exist; asking for it is no error."""
        assert count(cgroup="0::/a\n", mountinfo=v2(r"/c\000g")) == AFFINITY


class TestEnvironment:
    def test_it_overrides_everything(self, tmp_path: Path) -> None:
        """MANYCORE_CPUS is obeyed below and above what the machine offers."""
        assert cpu_count(root=tmp_path, environ={"MANYCORE_CPUS": "1"}) == 1
        assert cpu_count(root=tmp_path, environ={"MANYCORE_CPUS": "4096"}) == 4096

    def test_nothing_else_is_looked_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With MANYCORE_CPUS no file is read: it is the way out when detection goes wrong."""
        monkeypatch.delattr(cpus, "_quotas")
        monkeypatch.delattr(cpus, "_schedulable")
        assert cpu_count(environ={"MANYCORE_CPUS": "5"}) == 5

    def test_os_environ_is_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without `environ` the process's own environment is read, at each call."""
        monkeypatch.setenv("MANYCORE_CPUS", "7")
        assert cpu_count() == 7
        monkeypatch.setenv("MANYCORE_CPUS", "8")
        assert cpu_count() == 8

    @pytest.mark.parametrize(
        "value", ["x", "", " ", "0", "-1", "+2", "1.5", "1_0", "2 3", "\u0663", "9" * 5000]
    )
    def test_anything_but_a_whole_number_from_1_is_an_error(self, value: str) -> None:
        """A wrong MANYCORE_CPUS is refused, not ignored."""
        with pytest.raises(SettingsError):
            cpu_count(environ={"MANYCORE_CPUS": value})

    def test_the_error_says_what_to_do(self) -> None:
        """The message names the variable, the value and the remedy."""
        with pytest.raises(SettingsError) as caught:
            cpu_count(environ={"MANYCORE_CPUS": "x"})
        expected = "MANYCORE_CPUS: 'x' is not a number of CPUs; give a whole number from 1"
        assert str(caught.value) == expected


class TestThisMachine:
    def test_never_above_the_affinity(self) -> None:
        """Whatever this machine's cgroups say, it is from 1 to the size of the affinity mask."""
        if not hasattr(os, "sched_getaffinity"):
            pytest.skip("this system has no scheduler affinity")
        assert 1 <= cpu_count(environ={}) <= len(os.sched_getaffinity(0))

    def test_without_scheduler_affinity(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the system has no affinity the number of CPUs counts, and 1 if nobody knows it."""
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: 6)
        assert cpu_count(root=tmp_path, environ={}) == 6
        monkeypatch.setattr(os, "cpu_count", lambda: None)
        assert cpu_count(root=tmp_path, environ={}) == 1

    @pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="nothing to restrict")
    def test_a_restricted_child_counts_one(self) -> None:
        """A process that was pinned to one CPU before it imported manycore counts one."""
        program = (
            "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
            "from manycore.base.cpus import cpu_count; print(cpu_count())"
        )
        environ = {name: value for name, value in os.environ.items() if name != "MANYCORE_CPUS"}
        child = subprocess.run(
            [sys.executable, "-c", program],
            env=environ,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (child.stdout, child.stderr, child.returncode) == ("1\n", "", 0)
