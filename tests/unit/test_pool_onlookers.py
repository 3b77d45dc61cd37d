"""A future does not change while somebody looks, and is not stuck when that was interrupted."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    _base,
    as_completed,
    wait,
)
from typing import Any

import pytest

from eventually import eventually
from manycore.pool.future import CANCELLED, FINISHED, Failed, Future, finish

WITHIN = 5.0  # seconds


class Interrupted(Future):
    """One of many futures; Ctrl-C comes when they are looked at for the twentieth time."""

    step = ""
    looks = 0

    def __getattribute__(self, name: str) -> Any:
        if name == Interrupted.step:
            Interrupted.looks += 1
            if Interrupted.looks == 20:
                raise KeyboardInterrupt
        return super().__getattribute__(name)


@pytest.mark.parametrize("step", ["_condition", "_waiters"])
def test_a_future_is_finished_though_a_wait_for_it_was_interrupted(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the wait had taken some of its futures, or all."""
    futures = [Interrupted() for _ in range(50)]
    monkeypatch.setattr(Interrupted, "step", step)
    monkeypatch.setattr(Interrupted, "looks", 0)
    with pytest.raises(KeyboardInterrupt):
        wait(futures)
    finish(futures, range(50))
    assert [future.result(WITHIN) for future in futures] == list(range(50))


@pytest.mark.parametrize("how", ["finish", "cancel"])
def test_nothing_changes_while_somebody_looks(how: str) -> None:
    """Who looks sees one state, and is told of every change after that."""
    future, told = Future(), threading.Event()
    future.add_done_callback(lambda _: told.set())
    with vars(_base)["_AcquireFutures"]([future]):  # as `wait` does it
        before = future._state
        if how == "finish":
            finish([future], [1])
        else:
            assert future.cancel()
        assert not told.wait(0.05)
        assert future._state == (before if how == "finish" else CANCELLED)
        waiter = vars(_base)["_create_and_install_waiters"]([future], ALL_COMPLETED)
    assert waiter.event.wait(WITHIN)
    assert told.wait(WITHIN)
    assert waiter.finished_futures == [future]
    assert future.cancelled() == (how == "cancel")


def test_a_state_that_is_the_last_stays() -> None:
    """A result that comes after the cancellation is nobody's, and nobody is told twice."""
    future = Future()
    calls: list[Any] = []
    future.add_done_callback(calls.append)
    assert future.cancel()
    finish([future], [1])
    assert future.cancelled()
    assert calls == [future]


@pytest.mark.parametrize("when", [ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION])
def test_many_waits_at_once(when: str) -> None:
    """In many threads, for the same futures, as these are finished: each sees all it should."""

    def wait_for(futures: list[Future], seen: list[int]) -> None:
        seen.append(len(wait(futures, WITHIN, when).done))
        seen.append(len(list(as_completed(futures, WITHIN))))

    for _ in range(20):
        futures = [Future() for _ in range(200)]
        values: list[Any] = [*range(199), Failed(ValueError())]
        seen: list[int] = []
        threads = [threading.Thread(target=wait_for, args=(futures, seen)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for start in range(0, 200, 10):
            finish(futures[start : start + 10], values[start : start + 10])
        for thread in threads:
            thread.join()
        assert len(seen) == 12
        assert seen.count(200) >= (12 if when == ALL_COMPLETED else 6)
        assert {future._state for future in futures} == {FINISHED}


def test_a_future_that_was_waited_for_is_released() -> None:
    """At once, with its result, when nobody holds it: nothing waits for the garbage collector."""

    class Result:
        pass

    futures, results = [Future()], [Result()]
    thread = threading.Thread(target=wait, args=(futures,))
    thread.start()
    eventually(lambda: futures[0].onlookers is not None, within=WITHIN)
    finish(futures, results)
    thread.join()
    assert list(as_completed(futures)) == futures
    left: list[Any] = [weakref.ref(futures[0]), weakref.ref(results[0])]
    gc.disable()
    try:
        del thread
        futures.clear()
        results.clear()
        assert [found() for found in left] == [None, None]
    finally:
        gc.enable()
