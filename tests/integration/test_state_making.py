"""A directory that lasts is made by one process at a time, and is whole whoever is killed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from eventually import eventually
from manycore import Manager
from manycore.errors import StateError, StateRefused
from manycore.state import home
from state_support import Child, children


def count(path: str) -> None:
    """Opens a directory, which may have to be made, and counts there."""
    with Manager(path) as manager:
        manager.counter("opened").add()


def killed_at_line(number: int, path: str) -> None:
    """Opens a directory, and is killed at a line of its making, counted from the first."""
    left = number

    def look(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        nonlocal left
        if frame.f_code.co_filename != home.__file__:
            return None
        if event == "line":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return look

    sys.settrace(look)
    home.open_lasting(path, None, None)
    sys.settrace(None)


def test_many_open_a_new_one_at_once(tmp_path: Path) -> None:
    """One of them makes it; all of them use it, and nothing but the state is left in it."""
    for number in range(10):
        path = str(tmp_path / f"state{number}")
        with children() as start:
            started = [start(count, path) for _ in range(6)]
            for child in started:
                child.join()
        with Manager(path) as manager:
            assert manager.counter("opened").get() == 6
        assert not [name for name in os.listdir(path) if name.endswith(home._DRAFT)]


def test_killed_at_each_line_of_its_making(tmp_path: Path) -> None:
    """The next process finds nothing, something or all, and finishes it."""
    number = 0
    while True:
        path = str(tmp_path / f"state{number}")
        with children() as start:
            code = start(killed_at_line, number, path).wait()
            start(count, path).join()
        with Manager(path) as manager:
            assert manager.counter("opened").get() == 1
        if code == 0:
            break
        number += 1
    assert number > 50  # the making has some lines


def test_what_others_put_there_is_not_taken_for_a_beginning(tmp_path: Path) -> None:
    """A directory that holds anything else is refused, as it was."""
    os.chmod(tmp_path, 0o700)
    (tmp_path / "held").touch(0o600)
    (tmp_path / "letters").write_text("dear", encoding="utf-8")
    with pytest.raises(StateRefused, match="did not make"):
        Manager(str(tmp_path))
    assert (tmp_path / "letters").read_text(encoding="utf-8") == "dear"


def test_who_makes_it_without_end_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while that is an error; when that process is killed the turn is the next one's."""
    monkeypatch.setattr(home, "_PATIENCE", 0.2)
    path = str(tmp_path / "state")
    os.mkdir(path, 0o700)
    with children() as start:
        holder: Child = start(hold_the_turn, path)
        eventually(lambda: os.path.exists(tmp_path / "state-is-held"), within=5)
        with pytest.raises(StateError, match="another process"):
            Manager(path)
        holder.kill()
        count(path)


def hold_the_turn(path: str) -> None:
    with home._turn(path):
        Path(f"{path}-is-held").touch()
        signal.pause()
