"""Whose turn it is to write: waiting for it is short, and LMDB has the last word."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import get_native_id
from typing import Any

import pytest

from manycore import Manager
from manycore.state import turns

WRITER = turns._WRITER


class Mutex:
    """LMDB's `begin`, and the words that its mutex is in."""

    def __init__(self, *, tells: bool = True) -> None:
        self._bytes = bytearray(4 * (WRITER + 1))
        self.words = memoryview(self._bytes).cast("I")
        self.tells = tells
        self.begun = 0

    def begin(self, *_: Any) -> Mutex:
        self.begun += 1
        if self.tells:
            self.words[WRITER] = get_native_id()
        return self

    def abort(self) -> None:
        self.words[WRITER] = 0


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was slept, instead of sleeping."""
    slept: list[float] = []
    monkeypatch.setattr(turns, "sleep", slept.append)
    return slept


def ready(mutex: Mutex) -> Callable[[], Any]:
    """A `begin` that has been used once, and so knows its words."""
    begin = turns.in_turn(mutex.begin, mutex.words)
    begin().abort()
    mutex.begun = 0
    return begin


def test_nobody_waits_while_nobody_writes(naps: list[float]) -> None:
    mutex = Mutex()
    begin = ready(mutex)
    begin()
    assert (mutex.begun, naps) == (1, [])


def test_lmdb_is_asked_in_the_end(naps: list[float]) -> None:
    """Whatever is seen, and however long: a writer that was killed, or has a long transaction."""
    mutex = Mutex()
    begin = ready(mutex)
    mutex.words[WRITER] = 1
    begin()
    assert mutex.begun == 1
    assert sum(naps) == pytest.approx(turns.LONGEST)
    assert naps == sorted(naps)


def test_whoever_sees_that_it_is_free_goes_on(
    naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutex = Mutex()
    begin = ready(mutex)
    mutex.words[WRITER] = 1

    def nap(length: float) -> None:
        naps.append(length)
        mutex.words[WRITER] = 0

    monkeypatch.setattr(turns, "sleep", nap)
    begin()
    assert (mutex.begun, len(naps)) == (1, 1)


@pytest.mark.parametrize("words", [None, memoryview(b"")])
def test_words_that_mean_something_else_are_not_believed(
    naps: list[float], words: memoryview | None
) -> None:
    """With another LMDB the mutex may be elsewhere, or the file not there: nobody waits by it."""
    mutex = Mutex(tells=False)
    mutex.words[WRITER] = 12345
    begin = turns.in_turn(mutex.begin, mutex.words if words is None else words)
    begin()
    mutex.words[WRITER] = 12345
    begin()
    assert naps == []


def test_the_word_is_where_it_is_taken_to_be() -> None:
    """The LMDB that is installed here."""
    with Manager() as manager:
        hits = manager.counter()
        hits.add()
        words = hits._store._environment._turns._words
        assert words[WRITER] == 0
        with manager.transaction():
            assert words[WRITER] & turns._THREAD == get_native_id()
        assert words[WRITER] == 0


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the kernel does not list its locks")
def test_locks_of_the_file_are_kept() -> None:
    """Looking into the file must not make the kernel drop LMDB's own locks of it."""
    with Manager() as manager:
        manager.counter().add()
        inode = os.stat(Path(manager.path) / "lock.mdb").st_ino
        deadline = time.monotonic() + 10.0
        mine: list[str] = []
        while not mine and time.monotonic() < deadline:  # the list is not read in one piece
            lines = Path("/proc/locks").read_text().splitlines()
            mine = [line for line in lines if f" {os.getpid()} " in line and f":{inode} " in line]
        assert any("POSIX" in line and "READ" in line for line in mine)
