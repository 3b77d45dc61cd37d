"""A journal as a file: its lock, whose it is, and a disk without room."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from textwrap import dedent

import pytest

from manycore.errors import ExitCode, MapError, MapRefused
from manycore.mapping import records
from manycore.mapping.journal import Journal
from manycore.mapping.records import Header

HEADER = Header("work:do", "/items.txt", "text")


def test_one_run_at_a_time(tmp_path: Path) -> None:
    """The second is told, and the first goes on."""
    path = str(tmp_path / "journal")
    first = Journal(path, HEADER)
    with pytest.raises(MapError, match="another run is writing it") as caught:
        Journal(path, HEADER)
    assert caught.value.exit_code is ExitCode.FAILED
    first.add(0, b"a", b"{}")
    first.close()
    second = Journal(path, HEADER)
    assert second.has(0)
    second.close()


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (HEADER._replace(function="work:other"), "function 'work:do', not 'work:other'"),
        (HEADER._replace(input="-"), "input '/items.txt', not '-'"),
        (HEADER._replace(items="json"), "items 'text', not 'json'"),
    ],
)
def test_another_map_s_journal_is_refused(tmp_path: Path, other: Header, says: str) -> None:
    """It says what differs, and changes nothing."""
    path = tmp_path / "journal"
    journal = Journal(str(path), HEADER)
    journal.add(0, b"a", b"{}")
    journal.close()
    before = path.read_bytes()
    with pytest.raises(MapRefused, match=says) as caught:
        Journal(str(path), other)
    assert caught.value.exit_code is ExitCode.USAGE
    assert path.read_bytes() == before


def test_an_item_that_changed_is_refused(tmp_path: Path) -> None:
    """By its number; and so is an input that lost some."""
    journal = Journal(str(tmp_path / "journal"), HEADER)
    journal.add(2, b"c", b"{}")
    journal.check(2, b"c")
    with pytest.raises(MapRefused, match="line 3 of the input"):
        journal.check(2, b"d")
    with pytest.raises(MapRefused, match="line 3 is done, and the input has only 2"):
        journal.check_end(2)
    journal.check_end(3)
    journal.close()


def test_a_directory_is_no_journal(tmp_path: Path) -> None:
    """One line says so."""
    with pytest.raises(MapError, match="is a directory"):
        Journal(str(tmp_path), HEADER)


def test_a_disk_without_room_leaves_a_good_journal(tmp_path: Path) -> None:
    """The error is told, half a line is not left, and with room it goes on."""
    path = tmp_path / "journal"
    program = dedent(f"""
        import resource
        from manycore.errors import MapError
        from manycore.mapping.journal import Journal
        from manycore.mapping.records import Header
        journal = Journal({str(path)!r}, Header{tuple(HEADER)!r})
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            for number in range(100):
                journal.add(number, b"x", b"x" * 90)
                journal.flush()
        except MapError as error:
            print(error)
        journal.close()
    """)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stdout.startswith(f"{path}: file too large; what is done is kept")
    content = path.read_bytes()
    assert content.endswith(b"\n")
    journal = Journal(str(path), HEADER)
    assert journal.done == content.count(b"\n") - 1 > 3
    journal.add(99, b"y", b"z" * 5000)
    assert journal.record(99) == b"z" * 5000
    journal.close()


@dataclass
class Point:
    x: int
    when: date


class Array:
    def tolist(self) -> list[int]:
        return [1, 2]


def test_what_json_does_not_know() -> None:
    """Dataclasses, dates, paths and arrays have a form; others are named."""
    found = records.success(0, "a", [Point(1, date(2026, 1, 2)), Path("/x"), Array()])
    assert found.endswith(b'"result": [{"x": 1, "when": "2026-01-02"}, "/x", [1, 2]]}')
    with pytest.raises(TypeError, match="a set cannot be written as JSON"):
        records.success(0, "a", {1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.success(0, "a", float("nan"))
    with pytest.raises(ValueError, match="Circular"):
        knot: list[object] = []
        knot.append(knot)
        records.success(0, "a", knot)
