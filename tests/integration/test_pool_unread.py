"""Maps whose results nobody takes: all of the input is worked on, as in the standard library."""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from eventually import eventually
from manycore.pool.classic import Pool
from manycore.pool.executor import Executor
from manycore.pool.pace import MOST
from manycore.pool.threads import ThreadPool

MANY = 3_000
WITHIN = 10.0  # seconds


def items() -> Iterator[int]:
    """Gives an input that has no length."""
    yield from range(MANY)


def end(pool: Any) -> None:
    """Closes a pool and waits for it, in time."""
    pool.close()
    waiting = threading.Thread(target=pool.join, daemon=True)
    waiting.start()
    waiting.join(WITHIN)
    assert not waiting.is_alive()


KINDS = pytest.mark.parametrize("kind", [Pool, ThreadPool])
MAPS = pytest.mark.parametrize("name", ["imap", "imap_unordered"])


@KINDS
@MAPS
@pytest.mark.parametrize("taken", [0, 1, 100])
def test_results_are_there_after_the_pool_has_ended(kind: Any, name: str, taken: int) -> None:
    """Though most were not taken before: whoever holds the iterator may take them later."""
    with kind(2) as pool:
        results = getattr(pool, name)(abs, items())
        first = list(itertools.islice(results, taken))
        end(pool)
        assert pool.statistics().done == MANY
        assert sorted([*first, *results]) == list(range(MANY))


@KINDS
@MAPS
@pytest.mark.parametrize("taken", [0, 1, 100])
def test_all_is_done_though_the_iterator_was_dropped(kind: Any, name: str, taken: int) -> None:
    """And the pool ends."""
    with kind(2) as pool:
        results = getattr(pool, name)(abs, items())
        assert len(list(itertools.islice(results, taken))) == taken
        del results
        end(pool)
        assert pool.statistics().done == MANY


@KINDS
def test_an_untouched_map_that_was_dropped_is_done_at_once(kind: Any) -> None:
    """Nobody has to end the pool for that."""
    with kind(2) as pool:
        pool.imap_unordered(abs, items())
        eventually(lambda: pool.statistics().done == MANY, within=WITHIN)


def test_results_that_nobody_can_take_are_not_kept() -> None:
    """However many there are."""

    class Thing:
        pass

    things: weakref.WeakSet[Thing] = weakref.WeakSet()
    most = 0

    def make(_: int) -> Thing:
        nonlocal most
        thing = Thing()
        things.add(thing)
        most = max(most, len(things))
        return thing

    with ThreadPool(2) as pool:
        pool.imap(make, items())
        end(pool)
    assert most < 100


def test_an_endless_input_is_not_read_on_when_its_reader_has_had_enough() -> None:
    """The pool is there for other work."""
    counter = itertools.count()
    with Pool(2) as pool:
        for value in pool.imap(abs, counter):
            if value == 10:
                break
        read = next(counter)
        assert pool.map(abs, range(1000)) == list(range(1000))
        assert next(counter) == read + 1


@pytest.mark.parametrize("kind", [Pool, Executor])
def test_an_endless_input_ends_with_the_pool(kind: Any) -> None:
    """When that is terminated."""
    pool = kind(2)
    (pool.imap_unordered if kind is Pool else pool.map)(abs, itertools.count())
    eventually(lambda: pool.statistics().done > 1000, within=WITHIN)
    began = time.monotonic()
    pool.terminate()
    assert time.monotonic() - began < 3


def test_who_takes_results_slowly_is_waited_for() -> None:
    """While somebody takes results, only a bounded part of the input is read ahead."""
    counter = itertools.count()
    taken: list[int] = []
    with ThreadPool(2) as pool:
        results = pool.imap(abs, itertools.islice(counter, 200))

        def take() -> None:
            for value in results:
                taken.append(value)
                time.sleep(0.01)

        taking = threading.Thread(target=take)
        taking.start()
        eventually(lambda: len(taken) > 1, within=WITHIN)
        ending = threading.Thread(target=end, args=(pool,))
        ending.start()
        while ending.is_alive() and len(taken) < 150:
            assert len(taken) + 100 > pool.statistics().done
            time.sleep(0.005)
        assert len(taken) >= 150
        taking.join()
        ending.join()
    assert taken == list(range(200))


def test_an_input_that_raises_ends_there() -> None:
    """What it gave before is done, and the pool ends."""

    def broken() -> Iterator[int]:
        yield from range(50)
        raise OSError("the disk is gone")

    with Pool(2) as pool:
        results = pool.imap(abs, broken())
        pool.imap(abs, broken())
        end(pool)
        assert pool.statistics().done == 100
        assert [next(results) for _ in range(50)] == list(range(50))
        with pytest.raises(OSError, match="gone"):
            next(results)


def test_an_executor_does_all_of_a_map_that_nobody_looks_at() -> None:
    """A loop of calls, in short."""
    with Executor(2) as executor:
        executor.map(abs, items())
    assert executor.statistics().done == MANY


def test_an_executor_leaves_the_rest_of_a_map_that_was_left() -> None:
    """As the standard library's cancels it, when its results were looked at and dropped."""
    with Executor(2) as executor:
        for value in executor.map(abs, itertools.count()):
            if value == 10:
                break
    assert executor.statistics().done <= 11 + 2 * 4 * MOST


def test_the_time_for_a_map_counts_from_its_call() -> None:
    """Not from the first look."""
    with Executor(1) as executor:
        results = executor.map(time.sleep, [0.4], timeout=0.1)
        time.sleep(0.2)
        with pytest.raises(TimeoutError):
            next(results)
        results = executor.map(time.sleep, [0.0], timeout=0.1)
        eventually(lambda: executor.statistics().done == 2, within=WITHIN)
        assert list(results) == [None]
