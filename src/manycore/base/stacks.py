"""Where every thread of a process is, and whatever else waits there: tasks, greenlets.

Guarantee: to look stops nobody. A process that is stuck in C code cannot look; see `stackfile`.
"""

from __future__ import annotations

import json
import linecache
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any, Final, TypeAlias

MOST_FRAMES: Final = 100  # of one stack; the innermost say most
MOST_NAMES: Final = 8  # of those that are at the same place; the others are counted

_THREAD: Final = re.compile(
    r"(?:Current thread|Thread) (?P<id>0x[0-9a-f]+)(?: \[(?P<name>.*)\])? \(most recent call"
)
_FRAME: Final = re.compile(r'  File "(?P<file>.*)", line (?P<line>[0-9]+|\?\?\?) in (?P<name>.*)')


@dataclass(frozen=True, slots=True)
class Frame:
    """One call of a stack.

    Attributes:
        file: Where its code is.
        line: The line that it is at; 0: nobody knows.
        function: What was called.
    """

    file: str
    line: int
    function: str


@dataclass(frozen=True, slots=True)
class Stack:
    """Where some threads, tasks or greenlets are: all of them at the same place.

    Attributes:
        kind: `thread`, `task` or `greenlet`.
        names: What the first of them are called.
        count: How many there are.
        frames: Their calls, the innermost last.
    """

    kind: str
    names: tuple[str, ...]
    count: int
    frames: tuple[Frame, ...]


Found: TypeAlias = tuple[str, str, tuple[Frame, ...]]
"""A kind, a name and the calls of one stack."""

_root: FrameType | None = None  # what is below it was another process's
_others: list[Callable[[], Iterable[Found]]] = []


def begin_here() -> None:
    """Leaves out of every stack what led to our caller: a forked process did none of that."""
    global _root  # noqa: PLW0603  # it is the process's
    _root = sys._getframe(2)  # noqa: SLF001  # there is no other way


def also(find: Callable[[], Iterable[Found]]) -> None:
    """Lets `collect` find what is no thread: tasks, say. Called by it in any thread."""
    _others.append(find)


def collect() -> list[Stack]:
    """Looks where every thread of this process is, and all that `also` was told of.

    Example:
        >>> [frame.function for frame in collect()[0].frames][-1]
        '<module>'
    """
    found = list(_threads(sys._getframe(1)))  # noqa: SLF001  # our caller is where this thread is
    for find in _others:
        found += find()
    return group(found)


def group(found: Iterable[Found]) -> list[Stack]:
    """Puts together those that are at the same place, in the order of the first of each."""
    places: dict[tuple[str, tuple[Frame, ...]], list[str]] = {}
    for kind, name, frames in found:
        places.setdefault((kind, frames), []).append(name)
    return [
        Stack(kind, tuple(names[:MOST_NAMES]), len(names), frames)
        for (kind, frames), names in places.items()
    ]


def _threads(here: FrameType) -> Iterator[Found]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    me = threading.get_ident()
    current = sys._current_frames()  # noqa: SLF001  # there is no other way
    current[me] = here
    first = threading.main_thread().ident
    for ident in sorted(current, key=lambda ident: ident != first):
        yield "thread", names.get(ident, f"{ident:#x}"), calls(current[ident])


def calls(frame: FrameType | None) -> tuple[Frame, ...]:
    """Gives a frame and those that led to it, the innermost last."""
    found: list[Frame] = []
    while frame is not None and frame is not _root and len(found) < MOST_FRAMES:
        found.append(call(frame))
        frame = frame.f_back
    return tuple(reversed(found))


def call(frame: FrameType) -> Frame:
    """Gives one frame."""
    code = frame.f_code
    return Frame(code.co_filename, frame.f_lineno or 0, code.co_qualname)


def encode(stacks: Iterable[Stack]) -> bytes:
    """Writes stacks as one line."""
    return json.dumps([asdict(stack) for stack in stacks]).encode() + b"\n"


def decode(text: bytes) -> list[Stack]:
    r"""Reads what `encode` wrote, or else what faulthandler writes, or some of each.

    What cannot be read is left out: it was written by a process that is not well.

    Example:
        >>> found = decode(b'Thread 0x7f (most recent call first):\n  File "a.py", line 3 in f\n')
        >>> found[0].names, found[0].frames
        (('0x7f',), (Frame(file='a.py', line=3, function='f'),))
    """
    lines = text.split(b"\n")
    for line in lines[:-1]:
        if line.startswith(b"["):
            try:
                return [stack_of(facts) for facts in json.loads(line)]
            except (ValueError, KeyError, TypeError, RecursionError):
                break
    return group(_read(line.decode(errors="replace") for line in lines))


def stack_of(facts: dict[str, Any]) -> Stack:
    """Makes a stack of its facts, as JSON has them."""
    calls = tuple(Frame(f["file"], int(f["line"]), f["function"]) for f in facts["frames"])
    return Stack(str(facts["kind"]), tuple(map(str, facts["names"])), int(facts["count"]), calls)


def _read(lines: Iterable[str]) -> Iterator[Found]:
    name, frames = "", list[Frame]()
    for line in lines:
        if thread := _THREAD.match(line):
            if name:
                yield "thread", name, tuple(reversed(frames))
            name, frames = thread["name"] or thread["id"], []
        elif frame := _FRAME.match(line):
            number = 0 if frame["line"] == "???" else int(frame["line"])
            frames.append(Frame(frame["file"], number, frame["name"]))
    if name:
        yield "thread", name, tuple(reversed(frames))


def describe(stacks: Iterable[Stack]) -> str:
    """Writes stacks for people, as a traceback writes them.

    Example:
        >>> print(describe([Stack("thread", ("a", "b"), 5, (Frame("nowhere.py", 3, "f"),))]))
        5 threads: a, b and 3 more
          File "nowhere.py", line 3, in f
    """
    lines: list[str] = []
    for stack in stacks:
        more = stack.count - len(stack.names)
        names = ", ".join(stack.names) + (f" and {more} more" if more else "")
        head = stack.kind if stack.count == 1 else f"{stack.count} {stack.kind}s:"
        lines.append(f"{head} {names}")
        for frame in stack.frames:
            lines.append(f'  File "{frame.file}", line {frame.line or "?"}, in {frame.function}')
            source = linecache.getline(frame.file, frame.line).strip()
            if source:
                lines.append(f"    {source}")
        if not stack.frames:
            lines.append("  nowhere in Python")
    return "\n".join(lines)
