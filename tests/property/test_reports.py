"""Reports: any text goes over and comes back, and no bytes are an error."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from manycore.errors import ExitCode
from manycore.supervise.events import Failure
from manycore.supervise.report import (
    LONGEST_DETAILS,
    LetGoReport,
    ReadyReport,
    Report,
    StacksReport,
    decode,
    encode,
)

pure = settings(deadline=None)  # a busy machine may stall any example; pytest's timeout guards

# any text that Python makes of bytes: what is not UTF-8 becomes a lone low surrogate
texts = st.text(
    st.characters(exclude_categories=["Cs"])
    | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)
)
failures = st.builds(
    Failure,
    code=st.sampled_from(ExitCode),
    problem=texts,
    where=texts,
    remedy=texts,
    details=texts,
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
nearly_reports = st.fixed_dictionaries(
    dict.fromkeys(("code", "problem", "where", "remedy"), values),
    optional={"details": values, "news": values},
)


@pure
@given(failure=failures)
def test_any_failure_is_read_back_from_one_line(failure: Failure) -> None:
    """Whatever the texts hold, they come back as they were, and the line has one end."""
    line = encode(failure)
    assert line.index(b"\n") == len(line) - 1
    assert decode(line) == failure


@pure
@given(failure=failures, data=st.data())
def test_a_torn_line_is_no_report(failure: Failure, data: st.DataObject) -> None:
    """Wherever the writer died, half a report is none."""
    reports: list[Report] = [failure, ReadyReport(), LetGoReport(), StacksReport()]
    line = encode(data.draw(st.sampled_from(reports)))
    assert decode(line[: data.draw(st.integers(0, len(line) - 2))]) is None


@pure
@given(line=st.binary() | (values | nearly_reports).map(lambda value: json.dumps(value).encode()))
def test_no_bytes_are_an_error(line: bytes) -> None:
    """Bytes of whatever kind give a report or None."""
    report = decode(line)
    assert report is None or isinstance(report, ReadyReport | LetGoReport | StacksReport | Failure)


@pure
@given(end=st.text(st.characters(codec="utf-8"), min_size=1), size=st.integers(0, 3))
def test_details_keep_their_end(end: str, size: int) -> None:
    """Details of any length end as they did."""
    report = decode(
        encode(Failure(ExitCode.FAILED, "", details="-" * LONGEST_DETAILS * size + end))
    )
    assert isinstance(report, Failure)
    assert report.details.endswith(end)
    assert len(report.details) <= LONGEST_DETAILS
