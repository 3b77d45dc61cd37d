"""What a process tells the one that started it. Pure.

One JSON object a line, over a pipe with one writer. A pipe that ends without a line says that the
process died, and its exit status says how.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TypeAlias

from manycore.errors import ExitCode

from .events import Failure

LONGEST_DETAILS = 32_768  # characters of a traceback; its end says most


@dataclass(frozen=True, slots=True)
class ReadyReport:
    """The process is ready."""


@dataclass(frozen=True, slots=True)
class LetGoReport:
    """The process takes no more work."""


@dataclass(frozen=True, slots=True)
class StacksReport:
    """The process has written where its threads are."""


@dataclass(frozen=True, slots=True)
class SpentReport:
    """The process has lived long enough: it goes on until its successor is ready."""


Report: TypeAlias = ReadyReport | LetGoReport | StacksReport | SpentReport | Failure

_NEWS: dict[str, Report] = {
    "ready": ReadyReport(),
    "let go": LetGoReport(),
    "stacks": StacksReport(),
    "spent": SpentReport(),
}


def encode(report: Report) -> bytes:
    """Writes a report as a line."""
    for news, known in _NEWS.items():
        if report == known:
            return json.dumps({"news": news}).encode() + b"\n"
    assert isinstance(report, Failure)
    facts = asdict(report)
    facts["details"] = report.details[-LONGEST_DETAILS:]
    return json.dumps(facts).encode() + b"\n"


def decode(line: bytes) -> Report | None:
    """Reads a line; None if it is no report, because its writer died in the middle of it.

    Example:
        >>> decode(encode(Failure(ExitCode.TARGET_FAILED, "no such file"))).problem
        'no such file'
    """
    try:
        facts = json.loads(line)
        if "news" in facts:
            return _NEWS[facts["news"]]
        texts = {name: str(facts[name]) for name in ("problem", "where", "remedy", "details")}
        return Failure(ExitCode(facts["code"]), **texts)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
