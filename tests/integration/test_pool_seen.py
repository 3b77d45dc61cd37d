"""Progress, figures and explanations of pools that work."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from eventually import eventually
from manycore.pool.classic import Pool
from manycore.pool.executor import Executor
from manycore.pool.threads import ThreadPool

WITHIN = 10.0  # seconds


@pytest.fixture(autouse=True)
def colourful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture(params=[Pool, ThreadPool])
def pool(request: pytest.FixtureRequest) -> Iterator[Any]:
    with request.param(2) as pool:
        yield pool


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def fail_at_three(x: int) -> int:
    if x == 3:
        raise ValueError(x)
    return x


def test_every_map_shows_how_far_it_is(pool: Any, tmp_path: Path) -> None:
    """And gives what it gives without."""
    pairs = [(1, 2), (3, 4)]
    written = tmp_path / "stderr"  # capfd throws away what comes between its read and its truncate
    with written.open("w") as file, redirect_stderr(file):
        assert pool.map(abs, [-1, 2], progress=True) == [1, 2]
        assert pool.map(abs, iter([-1, 2]), progress=True) == [1, 2]
        assert pool.starmap(max, pairs, progress=True) == [2, 4]
        assert pool.map_async(abs, [-1, 2], progress=True).get(WITHIN) == [1, 2]
        assert pool.starmap_async(max, pairs, progress=True).get(WITHIN) == [2, 4]
        assert list(pool.imap(abs, [-1, 2], progress=True)) == [1, 2]
        assert sorted(pool.imap_unordered(abs, iter([-1, 2]), progress=True)) == [1, 2]
        eventually(
            lambda: written.read_text().count("\n") == 7, within=WITHIN, what=written.read_text
        )
    said = written.read_text()
    assert said.count("abs: 2 of 2 (100%)") == 3
    assert said.count("max: 2 of 2 (100%)") == 2
    assert said.count("abs: 2, ") == 2


def test_an_executor_s_map_shows_it_too(capfd: pytest.CaptureFixture[str]) -> None:
    """With what failed."""
    with Executor(2) as executor:
        results = executor.map(fail_at_three, range(6), progress=True)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="3"):
            next(results)
        assert list(results) == [4, 5]
    assert "fail_at_three: 6 of 6 (100%), 1 failed" in capfd.readouterr().err


def test_results_that_nobody_takes_end_their_bar(tmp_path: Path) -> None:
    """The last state is shown when they are forgotten."""
    written = tmp_path / "stderr"
    with Pool(1) as pool, written.open("w") as file, redirect_stderr(file):
        results = pool.imap(abs, [1, 2, 3], progress=True)
        next(results)
        del results
        eventually(lambda: "abs: 1 of 3" in written.read_text(), within=WITHIN)


def test_workers_do_not_draw() -> None:
    """What draws bars is no part of a worker."""
    with Pool(1) as pool:
        pool.map(abs, [1], progress=True)
        loaded = pool.apply(eval, ("list(__import__('sys').modules)",))
    assert not {"rich", "click", "manycore.pool.progress", "manycore.pool.classic"} & set(loaded)


def test_statistics_count_what_happened(pool: Any) -> None:
    """Tasks that are done, and those that failed."""
    assert pool.statistics().done == 0
    pool.map(abs, range(1000))
    with pytest.raises(ValueError, match="3"):
        pool.map(fail_at_three, range(10))
    found = pool.statistics()
    assert (found.workers, found.done, found.failed, found.queued) == (2, 1010, 1, 0)
    assert found.started == 2
    eventually(lambda: pool.statistics().busy == 0, within=WITHIN)


def test_statistics_see_who_works(pool: Any) -> None:
    """While they do."""
    waiting = pool.map_async(nap, [0.3] * 6)
    eventually(lambda: pool.statistics().busy == 2, within=WITHIN)
    assert pool.statistics().queued >= 1
    waiting.get(WITHIN)


def test_statistics_of_the_workers() -> None:
    """Who they are, and what they hold; one that died is counted, and its task."""
    with Pool(2, retries=1) as pool:
        with pytest.raises(Exception, match="SIGKILL"):
            pool.apply(kill_self)
        eventually(lambda: len(pool.statistics().each) == 2, within=WITHIN)
        eventually(
            lambda: {one.state for one in pool.statistics().each} == {"serving"}, within=WITHIN
        )
        found = pool.statistics()
    assert (found.done, found.failed, found.lost, found.retried) == (2, 2, 2, 1)
    assert found.started == 4
    assert all(one.memory > 2**20 and one.pid > 0 for one in found.each)


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_explanation_says_where_the_time_went(
    pool: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Work that is work, and one long task behind which others have nothing to do."""
    pool.map(time.sleep, [0.05] * 20)  # a builtin: workers need not import this module
    found = pool.explain()
    assert found.statistics.seconds.working > 0.99
    others = sum(found.shares.values()) - found.shares["starting"] - found.shares["working"]
    assert found.shares["working"] > others
    assert capsys.readouterr().out.startswith("2 workers, ")
    pool.map(time.sleep, [3])
    assert pool.explain().shares["idle"] > 0.3


def test_a_pool_at_rest_is_not_idle(pool: Any) -> None:
    """The time between two maps is nobody's."""
    pool.map(nap, [0.02] * 10)
    eventually(lambda: pool.statistics().busy == 0, within=WITHIN)
    before = pool.statistics().seconds
    time.sleep(0.3)  # time in which nothing is done is what this is about
    after = pool.statistics().seconds
    assert after.workers - before.workers < 0.05
    assert after.elapsed - before.elapsed < 0.05
