"""The kernel's out-of-memory killer really strikes, in a cgroup made for it."""

import os
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventually import eventually

ROOM = 150 * 1024 * 1024  # bytes: enough for the programs below, until one of them swallows more
PATIENCE = 30  # seconds

#: where a hierarchy is, the file that limits memory in it, the one for swap, and what allows none
HIERARCHIES = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", ROOM),
    (Path("/sys/fs/cgroup"), "memory.max", "memory.swap.max", 0),
)


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup with little memory and no swap."""
    group = _made()
    if group is None:
        pytest.skip("no memory cgroup can be made here: it takes root and a hierarchy to write to")
    yield group
    eventually(lambda: not (group / "cgroup.procs").read_text(), within=5)
    group.rmdir()


def _made() -> Path | None:
    name = f"manycore-test-{uuid.uuid4().hex[:8]}"
    for hierarchy, limit, swap, no_swap in HIERARCHIES:
        group = hierarchy / name
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / limit).exists():
            (group / limit).write_text(str(ROOM))
            if (group / swap).exists():
                (group / swap).write_text(str(no_swap))
            return group
        group.rmdir()
    return None


def run_in(cgroup: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in the cgroup; its processes are there too."""
    enter = f"import os; open({str(cgroup / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
    source = enter + textwrap.dedent(program)
    command = [sys.executable, "-c", source]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, env=os.environ, check=False
    )


def test_a_process_says_what_killed_it(cgroup: Path) -> None:
    """`WorkerLost` names the killer, and the program goes on."""
    ended = run_in(
        cgroup,
        """
        import manycore

        process = manycore.Process(target=lambda: len(bytearray(b"x") * 1_000_000_000))
        process.start()
        try:
            process.result(timeout=20)
        except manycore.WorkerLost as error:
            print(error)
        """,
    )
    assert "killed by SIGKILL" in ended.stdout, ended.stderr
    assert "out-of-memory killer" in ended.stdout


def test_a_pool_loses_the_task_alone(cgroup: Path) -> None:
    """The greedy task fails by name of its killer; its neighbours and the pool are well."""
    ended = run_in(
        cgroup,
        """
        import manycore

        with manycore.Pool(2) as pool:
            tasks = [pool.submit(pow, 2, n) for n in range(10)]
            greedy = pool.submit(lambda: len(bytearray(b"x") * 1_000_000_000))
            tasks += [pool.submit(pow, 2, n) for n in range(10, 20)]
            try:
                greedy.result(timeout=20)
            except manycore.WorkerLost as error:
                print(error)
            print([task.result(timeout=20) for task in tasks] == [2**n for n in range(20)])
            print(pool.apply(len, ["alive"]))
        """,
    )
    assert "out-of-memory killer" in ended.stdout, ended.stderr
    assert ended.stdout.splitlines()[-2:] == ["True", "5"]
