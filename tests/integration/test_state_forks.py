"""Forks at a bad moment: of what one process has open, nothing is shared and nothing is broken."""

from __future__ import annotations

import os
import threading
import time

import pytest

from manycore import Manager
from manycore.errors import StateClosed
from manycore.state import store, writing
from state_support import Start


def test_a_fork_does_not_wait_for_ever(
    manager: Manager, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread's transaction goes on; the child cannot use the manager, and says why."""
    monkeypatch.setattr(writing, "FORK_PATIENCE", 0.2)
    monkeypatch.setattr(store, "FORK_PATIENCE", 0.2)
    box = manager.dict(n=0)
    inside, end = threading.Event(), threading.Event()

    def write() -> None:
        with manager.transaction():
            box["n"] = 1
            inside.set()
            end.wait(20.0)
            box["n"] += 1

    def use() -> None:
        for operation in (lambda: box["n"], lambda: box.update(n=7), lambda: len(box)):
            with pytest.raises(StateClosed, match=r"forked while another thread .* for 0\.2 sec"):
                operation()
        with Manager() as another:  # others are not touched by it
            assert another.counter().add() == 1

    thread = threading.Thread(target=write)
    thread.start()
    inside.wait(20.0)
    begun = time.monotonic()
    child = start(use)
    assert 0.2 <= time.monotonic() - begun < 2.0
    child.join()
    assert box["n"] == 0  # nothing of the transaction shows
    end.set()
    thread.join()
    assert box["n"] == 2
    start(lambda: box.update(n=box["n"] + 1)).join()  # a fork at a quiet time
    assert box["n"] == 3


def test_a_fork_waits_for_a_transaction_that_ends(manager: Manager, start: Start) -> None:
    """The child finds all of it."""
    box = manager.dict(n=0)
    inside = threading.Event()

    def write() -> None:
        with manager.transaction():
            box["n"] = 1
            inside.set()
            time.sleep(0.1)  # the fork waits meanwhile
            box["n"] += 1

    def look() -> None:
        assert box["n"] == 2

    thread = threading.Thread(target=write)
    thread.start()
    inside.wait(20.0)
    start(look).join()
    thread.join()


def test_threads_read_and_write_through_forks(  # noqa: C901  # two kinds of threads, and a child
    manager: Manager, start: Start
) -> None:
    """Reading takes no lock; the forks wait for it all the same, and no child breaks it."""
    box = manager.dict(a="x" * 3000, b="x" * 3000)
    lists, hits = manager.list(), manager.counter()
    over = threading.Event()
    problems: list[BaseException] = []

    def read() -> None:
        try:
            while not over.is_set():
                assert set(box["a"]) == {"x"}
                assert len(box) == 2
                assert "nothing" not in box
        except BaseException as error:
            problems.append(error)

    def write() -> None:
        try:
            while not over.is_set():
                box["b"] = "x" * 3000
                lists.append(1)
                lists.pop()
        except BaseException as error:
            problems.append(error)

    def use() -> None:
        assert box["b"] == "x" * 3000
        box["a"] = "x" * 3000
        hits.add()

    threads = [threading.Thread(target=work) for work in (read, read, write)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            start(use).join()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not problems
    assert hits.get() == 30


def test_a_child_leaves_the_place_of_its_parent_in_the_table_of_readers(
    manager: Manager, start: Start
) -> None:
    """What the parent reads with is kept ready, and a child that closes what it inherited knows."""
    box = manager.dict(n=1)
    assert box["n"] == 1

    def places() -> list[str]:
        return [line for line in manager._store.open.readers().splitlines()[1:] if line]

    def is_here(pid: int) -> bool:
        return any(line.split()[0] == str(pid) for line in places())

    assert is_here(os.getpid())
    child = start(lambda: box["n"])
    child.join()
    assert is_here(os.getpid())
    assert box["n"] == 1


def test_a_manager_is_first_used_while_another_thread_forks(start: Start) -> None:
    """Opening, reading and forking take their locks in one order, so that none waits for ever."""
    for _ in range(20):
        with Manager() as manager:
            box = manager.dict(n=1)
            manager.shutdown()
        with Manager() as manager:
            box = manager.dict(n=1)
            found: list[int] = []
            thread = threading.Thread(target=lambda box=box, found=found: found.append(box["n"]))
            thread.start()
            start(lambda box=box: box["n"]).join()
            thread.join(20.0)
            assert found == [1]
