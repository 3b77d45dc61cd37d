"""`ThreadPool`: the same face, over threads."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import manycore
from eventually import eventually


def fail(x: object) -> None:
    raise ValueError(x)


def test_the_same_face() -> None:
    """Every method gives what the process pool's gives."""
    with manycore.ThreadPool(3) as pool:
        assert pool.apply(max, (1, 2)) == 2
        assert pool.map(abs, range(-50, 0)) == list(range(50, 0, -1))
        assert pool.starmap(max, iter([(1, 2), (4, 3)])) == [2, 4]
        assert list(pool.imap(abs, iter(range(100)))) == list(range(100))
        assert sorted(pool.imap_unordered(abs, range(100))) == list(range(100))
        seen: list[Any] = []
        pool.apply_async(abs, (-1,), callback=seen.append).get(5)
        pool.apply_async(fail, ("no",), error_callback=lambda e: seen.append(str(e))).wait(5)
        eventually(lambda: seen == [1, "no"], within=5)
        with pytest.raises(ValueError, match="3"):
            pool.map(fail, [3])
        assert pool.submit(threading.current_thread).result(5).name.startswith("ThreadPool-")


def test_tasks_run_at_the_same_time() -> None:
    """As many as there are threads."""
    meeting = threading.Barrier(3, timeout=5)
    with manycore.ThreadPool(3) as pool:
        assert sorted(pool.map(lambda _: meeting.wait(), range(3))) == [0, 1, 2]


def test_close_and_terminate() -> None:
    """Closing finishes, terminating cancels, and further tasks are refused."""
    pool = manycore.ThreadPool(1)
    results = [pool.submit(abs, -n) for n in range(100)]
    pool.close()
    with pytest.raises(ValueError, match="not running"):
        pool.submit(abs, 1)
    pool.join()
    assert [r.result(0) for r in results] == list(range(100))
    pool = manycore.ThreadPool(1)
    may_end = threading.Event()
    first, *rest = [pool.submit(may_end.wait) for _ in range(10_000)]
    eventually(first.running, within=5)
    began = time.monotonic()
    pool.terminate()
    assert time.monotonic() - began < 1
    assert first.running()  # a thread cannot be ended, and is not waited for
    may_end.set()
    assert first.result(5)
    assert all(r.cancelled() for r in rest)


def test_a_time_limit_is_refused() -> None:
    """A thread cannot be ended: better an error than a limit that does nothing."""
    with manycore.ThreadPool(1) as pool:
        for call in (pool.map, pool.imap, pool.map_async):
            with pytest.raises(ValueError, match="a time limit needs a pool of processes"):
                call(abs, [1], timeout=1)
        with pytest.raises(ValueError, match="a time limit needs a pool of processes"):
            pool.apply(abs, (1,), timeout=1)
        assert pool.apply_async(abs, (-1,)).get(timeout=10) == 1


@pytest.mark.parametrize(
    "use",
    [
        lambda pool: pool.apply(abs, (1,)),
        lambda pool: pool.map(abs, range(10)),
        lambda pool: pool.map(abs, iter(range(1000))),
        lambda pool: pool.submit(abs, 1).result(),
        lambda pool: list(pool.imap(abs, iter(range(1000)))),
        lambda pool: list(pool.imap_unordered(abs, range(1000))),
    ],
    ids=["apply", "map", "map_generator", "submit", "imap", "imap_unordered"],
)
def test_an_initializer_that_raises_is_told(use: Callable[[Any], Any]) -> None:
    """After a few tries, to whoever uses the pool then or later, with its own traceback."""
    calls = []

    def explode() -> None:
        calls.append(1)
        raise OSError("no such device")

    pool = manycore.ThreadPool(2, initializer=explode)
    for _ in range(2):
        with pytest.raises(OSError, match="no such device") as caught:
            use(pool)
        assert "explode" in [entry.name for entry in caught.traceback]
    pool.close()
    pool.join()
    assert 3 <= len(calls) <= 4


def test_an_initializer_that_fails_once_is_called_again() -> None:
    """The pool is whole then."""
    calls: list[int] = []

    def stumble() -> None:
        calls.append(1)
        if len(calls) == 1:
            sys.exit("not yet")

    with manycore.ThreadPool(2, initializer=stumble) as pool:
        assert pool.map(abs, range(10)) == list(range(10))
        eventually(lambda: len(calls) == 3, within=5)
