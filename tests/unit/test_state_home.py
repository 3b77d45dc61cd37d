"""Processes that are told apart, and directories that are told whose they are."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from manycore.base import life
from state_support import children


def test_an_identity_is_of_one_process_for_ever() -> None:
    """Another start time, another boot or another id is somebody else, and that one is dead."""
    mine = life.mine()
    assert life.is_alive(mine)
    assert life.pid_of(mine) == os.getpid()
    assert life.parse_name(life.name() + "-rest") == mine
    for place in (11, 15):  # the last bytes of the start time and of the boot
        other = bytearray(mine)
        other[place] ^= 1
        assert not life.is_alive(bytes(other))


def test_a_process_that_was_not_reaped_is_dead() -> None:
    """A zombie holds nothing; and a child is somebody else than its parent."""
    reader, writer = os.pipe()
    with children() as start:
        child = start(lambda: os.write(writer, life.mine()))
        theirs = os.read(reader, 100)
        assert theirs != life.mine()
        assert life.pid_of(theirs) == child.pid
        fd = life.watch(theirs)
        if fd is not None:
            os.close(fd)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert life.watch(theirs) is None
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("text", ["", "x", "1", "1-2", "1-2-zz", "-1-2-3", "1-2-1ffffffff"])
def test_what_is_no_identity_is_none(text: str) -> None:
    """Nothing is guessed from names that others gave."""
    assert life.parse_name(text) is None


def test_a_process_name_with_brackets_is_read(tmp_path: Path) -> None:
    """The command's name may hold anything, a closing bracket and blanks included."""
    program = tmp_path / ") S 1 2 3"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        try:
            started = life.start_time(process.pid) or 0
            assert started >= (life.start_time(os.getpid()) or 0) > 0
        finally:
            process.kill()
    assert life.start_time(2**22 + 1) is None
