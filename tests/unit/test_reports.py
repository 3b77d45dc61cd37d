"""What a booting process says, as a line."""

from __future__ import annotations

import json

import pytest

from manycore.errors import ExitCode
from manycore.supervise.events import Failure
from manycore.supervise.report import (
    LONGEST_DETAILS,
    LetGoReport,
    ReadyReport,
    Report,
    decode,
    encode,
)

FAILURE = Failure(
    ExitCode.TARGET_FAILED,
    "importing it raised ValueError",
    where="app:handle",
    remedy="correct that",
    details="Traceback (most recent call last):\n  ...\nValueError\n",
)


@pytest.mark.parametrize(
    "report", [ReadyReport(), LetGoReport(), FAILURE, Failure(ExitCode.BOOT_FAILED, "")]
)
def test_a_report_is_one_line_and_read_back(report: Report) -> None:
    """The reader looks for a newline: there is one, at the end, whatever the traceback has."""
    line = encode(report)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == report


def test_the_code_is_an_exit_code_again() -> None:
    """What comes out is compared by identity in the rules."""
    report = decode(encode(FAILURE))
    assert isinstance(report, Failure)
    assert report.code is ExitCode.TARGET_FAILED


def test_a_long_traceback_keeps_its_end() -> None:
    """The last lines of a traceback say most."""
    report = decode(encode(Failure(ExitCode.BOOT_FAILED, "x", details="a" * 10**6 + "the end")))
    assert isinstance(report, Failure)
    assert len(report.details) == LONGEST_DETAILS
    assert report.details.endswith("aaa" + "the end")


def test_text_that_is_not_unicode_survives() -> None:
    """A file name in a traceback may be any bytes."""
    failure = Failure(ExitCode.BOOT_FAILED, "no file /tmp/\udcff")
    assert decode(encode(failure)) == failure


@pytest.mark.parametrize("length", range(1, len(encode(FAILURE)) - 1, 7))
def test_a_torn_failure_is_none(length: int) -> None:
    """A writer that died in the middle reported nothing."""
    assert decode(encode(FAILURE)[:length]) is None


def facts(**changed: object) -> bytes:
    texts = dict.fromkeys(("problem", "where", "remedy", "details"), "")
    return json.dumps({"code": 3} | changed | texts).encode()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b'{"ready": tr',
        b"\xff\xfe",
        b"null",
        b"3",
        b"[]",
        b"{}",
        b'{"code": 3}',
        b'{"news": "stale"}',
        b'{"news": null}',
        b'{"news": []}',
        b'{"news": {}}',
        b'{"ready": true}',
        b'"news"',
        b'["news"]',
        facts(code=99),
        facts(code=None),
        facts(code=[]),
        facts(code="3"),
        b"9" * 5000,
        b'"ready"',
        b'["ready"]',
        b"[" * 100_000,
        b'{"ready":' * 100_000,
    ],
    ids=lambda line: repr(line[:20]),
)
def test_what_is_no_report_is_none(line: bytes) -> None:
    """Anything else that came through the pipe is no report, and no error either."""
    assert decode(line) is None


def test_the_facts_of_these_tests_are_a_report() -> None:
    """What is changed above is what makes it none."""
    assert decode(facts()) == Failure(ExitCode.BOOT_FAILED, "")
