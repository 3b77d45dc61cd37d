"""`--reload`: changed files are picked up while one writes them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

import manycore
from command import children, is_alive, serve, write_version
from eventually import eventually


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A folder with a target that the tests change."""
    (tmp_path / "code").mkdir()
    write_version(tmp_path / "code", 1)
    return tmp_path / "code"


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def test_a_changed_file_is_picked_up(code: Path, tmp_path: Path) -> None:
    """Bad code leaves the old workers serving, with its traceback in the log; good code follows."""
    extra = tmp_path / "settings.toml"
    extra.write_text("a = 1")
    arguments = ("-w", "1", "--reload", "--reload-extra", str(extra))
    with serve("versioned.py:handle", *arguments, log=tmp_path / "log", cwd=code) as served:

        def version() -> bytes:
            with served.connect() as client:
                return client.recv(1)

        def has_watcher() -> int:
            there = set(children(served.pid))
            return next((pid for pid in there if "watching" in title(pid)), 0)

        watcher = eventually(has_watcher, within=10)
        eventually(lambda: watched_by(watcher) >= 2, within=10)  # the folder and the file
        (code / "notes.txt").write_text("of no interest")
        write_version(code, 2)
        served.await_log("reloading: versioned.py changed")
        eventually(lambda: version() == b"2", within=10)
        (code / "versioned.py").write_text("raise RuntimeError('half written')\n")
        served.await_log("RuntimeError: half written")
        assert version() == b"2"
        write_version(code, 3)
        eventually(lambda: version() == b"3", within=10)
        extra.write_text("a = 2")
        served.await_log("settings.toml changed")
        assert "notes.txt" not in served.text
        served.process.kill()
        served.wait()
        eventually(lambda: not is_alive(watcher), within=5)


def watched_by(pid: int) -> int:
    """Counts the inotify watches of a process: fdinfo has a line for each (`man 5 proc`)."""
    count = 0
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            count += info.read_text().count("inotify wd:")
    return count


def test_a_handler_at_hand_cannot_be_read_again() -> None:
    """It says so, and what to do."""
    with pytest.raises(manycore.SettingsError, match="name the target"):
        manycore.serve(print, reload=True)
