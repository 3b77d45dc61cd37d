"""Numbers that cannot be: a ValueError with the argument's name, the value and what is allowed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import pytest

from manycore.pool.classic import Pool
from manycore.pool.executor import Executor
from manycore.pool.threads import ThreadPool

WORDS = {
    "timeout": "a positive number of seconds",
    "grace": "a number of seconds from 0",
    "retries": "a whole number from 0",
    "max_memory_per_worker": "a number of bytes from 1",
    "retry_on": "an exception class, or a tuple of some",
}
LEFT = ["1", b"1", [], True, math.nan, -1]  # what is no number at all, or below all of them


def refusal(name: str, value: Any) -> str:
    """Gives what is said of a value."""
    return "^" + re.escape(
        f"{name} must be {WORDS.get(name, 'a whole number from 1')}, not {value!r}"
    )


def values(name: str) -> list[Any]:
    """Gives what cannot be."""
    more: dict[str, list[Any]] = {"timeout": [0, math.inf], "grace": [math.inf], "retries": [1.5]}
    return LEFT + more.get(name, [0] if name == "max_memory_per_worker" else [0, 1.5])


@pytest.fixture(params=[Pool, ThreadPool])
def pool(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Gives a pool that no refusal harms."""
    with request.param(1) as made:
        yield made


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((Pool, name) for name in ("processes", "workers", "maxtasksperchild", "retry_on")),
        *((Executor, name) for name in ("max_workers", "max_tasks_per_child", "retry_on")),
        *((ThreadPool, name) for name in ("processes", "workers", "retries", "retry_on")),
        *(
            (kind, name)
            for kind in (Pool, Executor)
            for name in (
                "max_tasks_per_worker",
                "max_memory_per_worker",
                "threads_per_worker",
                "timeout",
                "retries",
                "grace",
            )
        ),
    ],
)
def test_of_a_pool(kind: Any, name: str) -> None:
    """Nothing is started."""
    for value in values(name):
        with pytest.raises(ValueError, match=refusal(name, value)):
            kind(**{name: value})


@pytest.mark.parametrize(
    "method", ["map", "starmap", "map_async", "starmap_async", "imap", "imap_unordered"]
)
def test_of_a_map(pool: Any, method: str) -> None:
    """The pool goes on."""
    for name in ("chunksize", "timeout"):
        for value in values(name):
            if name == "timeout" and isinstance(pool, ThreadPool):
                continue  # refused for another reason
            with pytest.raises(ValueError, match=refusal(name, value)):
                getattr(pool, method)(abs, [1], **{name: value})
    assert pool.map(abs, [-1], chunksize=3) == [1]


def test_of_a_call(pool: Any) -> None:
    """The same."""
    for value in values("retries"):
        with pytest.raises(ValueError, match=refusal("retries", value)):
            pool.apply_async(abs, (1,), retries=value)
    if isinstance(pool, Pool) and not isinstance(pool, ThreadPool):
        for value in values("timeout"):
            with pytest.raises(ValueError, match=refusal("timeout", value)):
                pool.apply_async(abs, (1,), timeout=value)
            with pytest.raises(ValueError, match=refusal("timeout", value)):
                pool.apply(abs, (1,), timeout=value)
    assert pool.apply(abs, (-1,)) == 1


def test_of_an_executors_map() -> None:
    """Its `timeout` is how long one waits, and may be 0."""
    with Executor(1) as executor:
        for name in ("chunksize", "buffersize"):
            for value in values(name):
                with pytest.raises(ValueError, match=refusal(name, value)):
                    executor.map(abs, [1], **{name: value})
        for wrong in (-1, math.nan, "1"):
            with pytest.raises(ValueError, match="timeout must be a number of seconds from 0, not"):
                executor.map(abs, [1], timeout=wrong)  # type: ignore[arg-type]
        with pytest.raises(TimeoutError):
            list(executor.map(abs, [1], timeout=0))
        assert list(executor.map(abs, [-1], timeout=5, chunksize=2, buffersize=1)) == [1]


def test_the_same_thing_twice() -> None:
    """Is refused: one of them would not be heeded."""
    with pytest.raises(ValueError, match="processes and workers are the same thing"):
        Pool(2, workers=2)
    with pytest.raises(ValueError, match="maxtasksperchild and max_tasks_per_worker are the same"):
        Pool(2, maxtasksperchild=2, max_tasks_per_worker=3)


def test_times_longer_than_any_timer(pool: Any) -> None:
    """Are no limit, and do not hurt."""
    if not isinstance(pool, ThreadPool):
        with Pool(1, timeout=1e300, grace=1e15) as patient:
            assert patient.apply_async(abs, (-1,)).get(5) == 1
            assert patient.map(abs, [-1, -2], timeout=3e6) == [1, 2]
