r"""Lines that are written: results, failures, and what a journal holds of them. Pure.

A journal's first line says whose it is:

    manycore-journal 1 {"function": …, "input": …, "items": …}

and each line behind that is one item that was done:

    CHECKSUM NUMBER DIGEST RECORD

with the CRC-32 of all that is behind it, the item's number from 0, a digest of its line, and what
is written to the output. Failures are no entries: they are what is missing.

Rules for reading one that somebody was killed while writing:

1. What is behind the last line's end was not written whole. It is cut off.
2. A line whose checksum is wrong is no entry, and its item is done again. Others are not concerned.
3. A first line that is not whole says nothing: the journal is begun anew. One that is whole and
   not ours is somebody else's file, which is not touched.
"""

from __future__ import annotations

import json
import zlib
from hashlib import blake2b
from typing import Any, Final, NamedTuple

MAGIC: Final = b"manycore-journal 1 "
_DIGEST_BYTES: Final = 8


class Header(NamedTuple):
    """Whose journal it is.

    Attributes:
        function: The target, as it was written.
        input: Where the items come from.
        items: What lines are read as.
    """

    function: str
    input: str
    items: str

    def line(self) -> bytes:
        """Gives the journal's first line, with its end."""
        return MAGIC + json.dumps(self._asdict()).encode() + b"\n"


def read_header(line: bytes) -> Header | None:
    """Reads a journal's first line, without its end; None when it is none."""
    try:
        facts = json.loads(line.removeprefix(MAGIC)) if line.startswith(MAGIC) else None
        return Header(**facts) if isinstance(facts, dict) else None
    except (ValueError, TypeError, RecursionError):
        return None


def is_torn_header(content: bytes) -> bool:
    """Whether a file without a whole line is what is left of a first line of ours.

    Example:
        >>> is_torn_header(b""), is_torn_header(b"manyco"), is_torn_header(b"my notes")
        (True, True, False)
    """
    return MAGIC.startswith(content) or content.startswith(MAGIC)


class Entry(NamedTuple):
    """One item that was done.

    Attributes:
        number: Which item, from 0.
        digest: Of its line.
        record: What is written to the output, without the line's end.
    """

    number: int
    digest: bytes
    record: bytes

    def line(self) -> bytes:
        """Gives the journal's line, with its end."""
        body = b"%d %b %b" % (self.number, self.digest.hex().encode(), self.record)
        return b"%08x %b\n" % (zlib.crc32(body), body)


def read_entry(line: bytes) -> Entry | None:
    """Reads a journal's line, without its end; None when it is not as it was written."""
    checksum, _, body = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        return None
    number, _, rest = body.partition(b" ")
    digest, _, record = rest.partition(b" ")
    if not number.isdigit() or len(digest) != 2 * _DIGEST_BYTES:
        return None
    try:
        return Entry(int(number), bytes.fromhex(digest.decode("ascii")), record)
    except ValueError:
        return None


def digest_of(line: bytes) -> bytes:
    """Tells lines apart."""
    return blake2b(line, digest_size=_DIGEST_BYTES).digest()


def as_item(text: str, items: str) -> Any:
    """Gives what the function is called with.

    Raises:
        ValueError: When the line is not what it should be.
    """
    return json.loads(text) if items == "json" else text


def success(number: int, item: Any, result: Any) -> bytes:
    """Writes what a function returned.

    Raises:
        TypeError: When JSON has nothing for it.
        ValueError: The same: it is not a number, say, or holds itself.

    Example:
        >>> success(0, "a.png", [640, 480])
        b'{"line": 1, "item": "a.png", "result": [640, 480]}'
    """
    return _write({"line": number + 1, "item": item, "result": result})


def failure(number: int, text: str, items: str, error: BaseException) -> bytes:
    """Writes that an item failed, and why.

    Example:
        >>> failure(1, "b.png", "text", OSError("no such file"))
        b'{"line": 2, "item": "b.png", "error": "OSError: no such file"}'
    """
    try:
        item = as_item(text, items)
    except ValueError:
        item = text
    facts = {"line": number + 1, "item": item, "error": in_words(error)}
    trace = getattr(error.__cause__, "text", None)
    if trace:
        facts["traceback"] = trace.rstrip()
    return _write(facts)


def in_words(error: BaseException) -> str:
    """Says on one line what was raised."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _write(facts: dict[str, Any]) -> bytes:
    text = json.dumps(facts, ensure_ascii=False, allow_nan=False, default=_plain)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a character, from bytes that are no UTF-8
        return json.dumps(facts, allow_nan=False, default=_plain).encode()


def _plain(value: Any) -> Any:
    """Gives JSON's form of what it does not know: arrays, paths, dates and dataclasses."""
    for name in ("tolist", "isoformat", "__fspath__"):
        convert = getattr(value, name, None)
        if convert is not None and not isinstance(value, type):
            return convert()
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    raise TypeError(f"a {type(value).__qualname__} cannot be written as JSON")
