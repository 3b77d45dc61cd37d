"""Stacks: of this process, and as another one shows them."""

from __future__ import annotations

import faulthandler
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from eventually import eventually
from manycore.base import stackfile, stacks
from manycore.base.stackfile import StackFile
from manycore.base.stacks import MOST_FRAMES, MOST_NAMES, Frame, Stack

if TYPE_CHECKING:
    import pytest

pure = settings(deadline=None)

texts = st.text(st.characters(exclude_categories=["Cs"]))
frames = st.builds(Frame, texts, st.integers(0, 10_000), texts)
some_stacks = st.builds(
    Stack,
    st.sampled_from(["thread", "task", "greenlet"]),
    st.lists(texts).map(tuple),
    st.integers(0, 10_000),
    st.lists(frames).map(tuple),
)


@contextmanager
def waiting(count: int) -> Iterator[None]:
    """Threads that wait in one place while the block runs."""
    done = threading.Event()

    def wait_here() -> None:
        done.wait()

    threads = [threading.Thread(target=wait_here, name=f"waiter-{n}") for n in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def are_here(found: list[Stack], count: int) -> bool:
    there = [s for s in found if any(f.function.endswith("wait_here") for f in s.frames)]
    return [stack.count for stack in there] == [count]


def test_those_at_the_same_place_are_shown_once() -> None:
    """With the names of the first, and the number of all."""
    with waiting(MOST_NAMES + 2):
        eventually(lambda: are_here(stacks.collect(), MOST_NAMES + 2), within=5)
        text = stacks.describe(stacks.collect())
    assert f"{MOST_NAMES + 2} threads: waiter-" in text
    assert " and 2 more" in text
    assert "done.wait()" in text


def test_we_are_in_it_where_we_ask() -> None:
    """The main thread comes first, and its innermost call is who asks."""
    first = stacks.collect()[0]
    assert (first.kind, first.names) == ("thread", ("MainThread",))
    assert first.frames[-1].function == "test_we_are_in_it_where_we_ask"


def test_deep_stacks_keep_their_inner_end() -> None:
    """What is innermost says most."""

    def dive(depth: int) -> list[Stack]:
        return dive(depth - 1) if depth else stacks.collect()

    (first, *_) = dive(2 * MOST_FRAMES)
    assert len(first.frames) == MOST_FRAMES
    assert {frame.function.rpartition(".")[2] for frame in first.frames} == {"dive"}


def test_what_faulthandler_writes_is_read() -> None:
    """Whatever this version of Python writes."""
    file = StackFile()
    with waiting(2):
        eventually(lambda: are_here(stacks.collect(), 2), within=5)
        faulthandler.dump_traceback(file.fd, all_threads=True)
    found = file.read()
    file.close()
    assert are_here(found, 2)
    places = [frame.function for stack in found for frame in stack.frames]
    assert "test_what_faulthandler_writes_is_read" in places


def test_lines_that_nobody_knows() -> None:
    """No frame, no line, a name and more threads than are shown."""
    text = b"""Thread 0x1 (most recent call first):
  <no Python frame>

Thread 0x2 [worker] (most recent call first):
  File "a.py", line ??? in f
  ...

Current thread 0x3 (most recent call first):
  File "a.py", line 4 in <module>
...
"""
    assert [(s.names, s.frames) for s in stacks.decode(text)] == [
        (("0x1",), ()),
        (("worker",), (Frame("a.py", 0, "f"),)),
        (("0x3",), (Frame("a.py", 4, "<module>"),)),
    ]
    assert "nowhere in Python" in stacks.describe(stacks.decode(text))


@pure
@given(found=st.lists(some_stacks), before=st.sampled_from([b"", b"Thread 0x1 (most rec\n"]))
def test_what_is_written_is_read_back(found: list[Stack], before: bytes) -> None:
    """Even behind what faulthandler had begun to write."""
    assert stacks.decode(before + stacks.encode(found)) == found


@pure
@given(text=st.binary())
def test_no_bytes_are_an_error(text: bytes) -> None:
    """What cannot be read is left out."""
    assert isinstance(stacks.decode(text), list)
    assert isinstance(stacks.decode(b"[" + text + b"\n"), list)


def test_a_process_that_was_never_told_where_to_answer_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And one that was does, whole."""
    monkeypatch.setattr(stackfile, "_mine", -1)
    stackfile.answer()
    file = StackFile()
    monkeypatch.setattr(stackfile, "_mine", file.fd)
    stackfile.answer()
    stackfile.answer()
    size = file.size
    assert file.read()[0].names == ("MainThread",)
    file.clear()
    assert (file.size, file.read()) == (0, [])
    assert size > 0
    assert os.fstat(file.fd)
    file.close()
