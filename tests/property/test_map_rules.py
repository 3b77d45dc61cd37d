"""The pure rules of `manycore map`: lines, turns, and what a journal is after any death."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manycore.errors import MapRefused
from manycore.mapping import records
from manycore.mapping.journal import Journal
from manycore.mapping.lines import as_text, split
from manycore.mapping.order import Turns
from manycore.mapping.records import Entry, Header

HEADER = Header("work:do", "/items.txt", "text")


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cuts bytes into blocks."""
    ends = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


@given(st.lists(st.binary().filter(lambda b: b"\n" not in b)), st.lists(st.integers(0)))
def test_lines_are_the_same_however_they_come(lines: list[bytes], places: list[int]) -> None:
    """Blocks may end anywhere, within a line's end too."""
    data = b"\n".join(lines)
    expected = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    if data.endswith(b"\n") or not data:
        expected.pop()
    assert list(split(cut(data, places))) == expected


@given(st.binary())
def test_every_line_is_a_text_and_a_json_string(line: bytes) -> None:
    """Whatever the bytes are, the record is one line of JSON from which they come back."""
    text = as_text(line)
    record = records.success(0, text, text)
    assert b"\n" not in record
    found = json.loads(record)["result"]
    assert found.encode("utf-8", "surrogateescape") == line


@given(st.permutations(range(12)))
def test_turns_give_all_in_order(order: list[int]) -> None:
    """Each once, as soon as all before it are there."""
    turns: Turns[int] = Turns()
    given_out: list[int] = []
    for place, number in enumerate(order):
        given_out += [value for _, value in turns.take(number, number)]
        so_far = set(order[: place + 1])
        ready = next(n for n in range(13) if n not in so_far)
        assert given_out == list(range(ready))
        assert len(turns) == len(so_far) - ready


results = st.recursive(st.none() | st.integers() | st.text(), st.lists)
entries = st.lists(st.tuples(st.integers(0, 30), results), max_size=8)


def written(content: list[tuple[int, Any]]) -> list[bytes]:
    """The lines of a journal."""
    rows = []
    for number, result in content:
        line = str(number).encode()
        record = records.success(number, line.decode(), result)
        rows.append(Entry(number, records.digest_of(line), record).line())
    return [HEADER.line(), *rows]


def known(journal: Journal) -> dict[int, bytes]:
    """What a journal says is done."""
    return {n: journal.record(n) for n in range(len(journal)) if journal.has(n)}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=entries, place=st.integers(0), then=results)
def test_a_journal_that_ends_anywhere_is_good(
    tmp_path: Path, content: list[tuple[int, Any]], place: int, then: Any
) -> None:
    """Entries that were whole are there, no others are, and it can be written on."""
    rows = written(content)
    data = b"".join(rows)
    place %= len(data) + 1
    path = tmp_path / "journal"
    path.write_bytes(data[:place])
    whole = data[:place].count(b"\n") - 1  # without the header
    expected = dict(content[: max(whole, 0)])
    journal = Journal(str(path), HEADER)
    assert {n: json.loads(record)["result"] for n, record in known(journal).items()} == expected
    assert journal.done == len(expected)
    journal.add(99, b"99", records.success(99, "99", then))
    journal.close()
    again = Journal(str(path), HEADER)
    expected[99] = then
    assert {n: json.loads(record)["result"] for n, record in known(again).items()} == expected
    again.check(99, b"99")
    again.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=entries.filter(bool), place=st.integers(0), value=st.integers(1, 255))
def test_a_byte_that_changed_costs_its_entry_alone(
    tmp_path: Path, content: list[tuple[int, Any]], place: int, value: int
) -> None:
    """What is given back was written; at most the entries that the byte touched are missing."""
    content = list(dict(content).items())
    rows = written(content)
    data = bytearray(b"".join(rows))
    start = len(rows[0])
    at = start + place % (len(data) - start)
    data[at] ^= value
    path = tmp_path / "journal"
    path.write_bytes(data)
    journal = Journal(str(path), HEADER)
    found = known(journal)
    journal.close()
    originals = {n: records.read_entry(row[:-1]).record  # type: ignore[union-attr]
                 for (n, _), row in zip(content, rows[1:], strict=True)}  # fmt: skip
    assert found.items() <= originals.items()
    assert len(found) >= len(originals) - 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_a_file_that_is_no_journal_is_not_touched(tmp_path: Path, content: bytes) -> None:
    """Refused, unless it is the beginning of a journal's first line."""
    path = tmp_path / "notes"
    path.write_bytes(content)
    if b"\n" not in content and records.is_torn_header(content):
        Journal(str(path), HEADER).close()
        assert path.read_bytes() == HEADER.line()
        return
    with pytest.raises(MapRefused, match="not a journal"):
        Journal(str(path), HEADER)
    assert path.read_bytes() == content


@given(st.builds(Header, st.text(), st.text(), st.text()))
def test_a_header_is_read_as_it_was_written(header: Header) -> None:
    """Whatever the names are, it is one line."""
    line = header.line()
    assert line.count(b"\n") == 1
    assert records.read_header(line[:-1]) == header
