"""`ThreadPool`: the same face, over threads."""

from __future__ import annotations

import threading
import time
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


def test_close_terminate_and_bad_input() -> None:
    """Closing finishes, terminating cancels, and further tasks are refused."""
    pool = manycore.ThreadPool(1)
    results = [pool.submit(abs, -n) for n in range(100)]
    pool.close()
    with pytest.raises(ValueError, match="not running"):
        pool.submit(abs, 1)
    pool.join()
    assert [r.result(0) for r in results] == list(range(100))
    pool = manycore.ThreadPool(1)
    first, *rest = [pool.submit(time.sleep, 0.1) for _ in range(1000)]
    eventually(first.running, within=5)
    pool.terminate()
    assert first.result(5) is None
    assert all(r.cancelled() for r in rest)
    with pytest.raises(ValueError, match="0"):
        manycore.ThreadPool(0)


def test_a_time_limit_is_refused() -> None:
    """A thread cannot be ended: better an error than a limit that does nothing."""
    with manycore.ThreadPool(1) as pool:
        for call in (pool.map, pool.imap, pool.map_async):
            with pytest.raises(ValueError, match="a time limit needs a pool of processes"):
                call(abs, [1], timeout=1)
        with pytest.raises(ValueError, match="a time limit needs a pool of processes"):
            pool.apply(abs, (1,), timeout=1)
        assert pool.apply_async(abs, (-1,)).get(timeout=10) == 1
