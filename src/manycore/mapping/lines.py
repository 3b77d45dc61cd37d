r"""Blocks of bytes to lines. Pure.

A line ends with `\n`, or `\r\n`, or with the input; the end is no part of it. An input that ends
with a line's end has no empty line behind that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def split(blocks: Iterable[bytes]) -> Iterator[bytes]:
    r"""Gives the lines of an input that comes in blocks.

    Example:
        >>> list(split([b"a\r", b"\nb", b"c\n", b"d"]))
        [b'a', b'bc', b'd']
    """
    pending: list[bytes] = []  # joined once a line is whole: a long one has many blocks
    for block in blocks:
        if b"\n" not in block:
            pending.append(block)
            continue
        first, *others = block.split(b"\n")
        yield _without_return(b"".join([*pending, first]))
        pending = [others.pop()]
        yield from map(_without_return, others)
    rest = b"".join(pending)
    if rest:
        yield _without_return(rest)


def _without_return(line: bytes) -> bytes:
    return line.removesuffix(b"\r")


def as_text(line: bytes) -> str:
    r"""Reads a line as UTF-8; bytes that are none are kept, as in a path.

    Example:
        >>> as_text(b"caf\xc3\xa9 \xff")
        'café \udcff'
    """
    return line.decode("utf-8", "surrogateescape")
