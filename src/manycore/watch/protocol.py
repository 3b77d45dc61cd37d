"""What goes over a control socket. Pure.

One JSON object a line, each way; a line carries the protocol's version. A request names a verb; its
answer has a result, or an error that is one line for people. Answers come in any order that suits
the supervisor, so a client that wants to know which is which asks one thing at a time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

VERSION: Final = 1
LONGEST_LINE: Final = 65_536  # bytes: requests are short, whoever sends more is no client of ours


class ProtocolError(ValueError):
    """A line is no message of this protocol; the text says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for.

    Attributes:
        verb: What to do.
        arguments: How; what the verb knows.
    """

    verb: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client is told.

    Attributes:
        result: What was asked for, or with an error more about that; JSON.
        error: Why it cannot be had; empty when all is well.
    """

    result: Any = None
    error: str = ""


def encode_request(request: Request) -> bytes:
    """Writes a request as a line."""
    return _line({"v": VERSION, "verb": request.verb, "arguments": request.arguments})


def encode_answer(answer: Answer) -> bytes:
    """Writes an answer as a line."""
    if answer.error:
        facts = {"v": VERSION, "ok": False, "error": answer.error, "result": answer.result}
        return _line(facts)
    return _line({"v": VERSION, "ok": True, "result": answer.result})


def decode_request(line: bytes) -> Request:
    """Reads a request.

    Raises:
        ProtocolError: When it is none.

    Example:
        >>> decode_request(encode_request(Request("scale", {"workers": "+1"})))
        Request(verb='scale', arguments={'workers': '+1'})
    """
    facts = _facts(line)
    verb, arguments = facts.get("verb"), facts.get("arguments", {})
    if not isinstance(verb, str) or not isinstance(arguments, dict):
        raise ProtocolError("a request needs a verb, and its arguments as an object")
    return Request(verb, arguments)


def decode_answer(line: bytes) -> Answer:
    """Reads an answer.

    Raises:
        ProtocolError: When it is none.
    """
    facts = _facts(line)
    if facts.get("ok") is True:
        return Answer(facts.get("result"))
    return Answer(facts.get("result"), str(facts.get("error") or "it does not say why"))


def _line(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, default=str).encode() + b"\n"


def _facts(line: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError("the line is no JSON") from None
    if not isinstance(facts, dict):
        raise ProtocolError("the line is no JSON object")
    if facts.get("v") != VERSION:
        raise ProtocolError(f"this speaks version {VERSION}, not {facts.get('v')!r}")
    return facts
