"""Calls that somebody waits for, one after the other: they go to a worker that is lent."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from eventually import eventually
from manycore.base.channel import Channel
from manycore.pool.classic import Pool
from manycore.pool.freight import Delivery, Unloader
from manycore.pool.loans import Loan
from manycore.pool.lost import TaskLost
from manycore.pool.wire import RESULT

LARGE = 400_000  # bytes: more than fits into a message


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(2) as pool:
        lend(pool)
        yield pool


def lend(pool: Pool) -> None:
    """Calls until the pool has lent a worker."""
    eventually(lambda: pool.apply(abs, (-1,)) == 1 and is_lent(pool), within=5)


def is_lent(pool: Pool) -> bool:
    return bool(pool._engine._dispatcher.loans.out)


def itself(value: Any) -> Any:
    return value


def copy_of(values: list[int], *, more: int) -> list[int]:
    return [*values, more]


def large() -> bytes:
    return b"x" * LARGE


def fail(text: str) -> None:
    raise LookupError(text)


def end_with_a_child() -> None:
    """The child has the channel to the pool; it does not end with its parent."""
    if os.fork() == 0:
        time.sleep(30)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def sleep_and_say(seconds: float, name: str) -> str:
    with open(name, "w"):
        time.sleep(seconds)
    return name


def test_calls_of_every_kind(pool: Pool) -> None:
    """What is plain, what is not, what fails and what is big give what they give otherwise."""
    for value in (None, 0, -1, 1 << 80, 1.5, "text", (1, [2]), b"x" * LARGE, {"a": {1}}):
        assert pool.apply(itself, (value,)) == value
    assert pool.apply(copy_of, ([1],), {"more": 2}) == [1, 2]
    assert pool.apply(lambda a, b: a + b, (1, 2)) == 3
    for _ in range(3):
        with pytest.raises(LookupError, match="no such thing"):
            pool.apply(fail, ("no such thing",))
    assert pool.apply(abs, (-5,)) == 5
    assert is_lent(pool)


def test_a_big_result_whose_answer_is_late(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is two messages; who waits is woken by the first, and waits for the second."""
    receive, parted = Unloader.receive, 0

    def receive_late(self: Unloader, channel: Channel, *, wait: bool = True) -> Delivery:
        nonlocal parted
        if parted % 2:
            parted += 1
            raise BlockingIOError
        delivery = receive(self, channel, wait=wait)
        parted += not wait and delivery.data[:1] == RESULT
        return delivery

    monkeypatch.setattr(Unloader, "receive", receive_late)
    for _ in range(5):
        assert pool.apply(large) == b"x" * LARGE
    assert parted == 10


def test_calls_are_counted(pool: Pool) -> None:
    before = pool.statistics()
    for number in range(20):
        pool.apply(abs, (number,))
    with pytest.raises(LookupError):
        pool.apply(fail, ("x",))
    after = pool.statistics()
    assert (after.done - before.done, after.failed - before.failed) == (21, 1)


def test_a_pool_of_one_lends_it_too() -> None:
    with Pool(1) as pool:
        lend(pool)
        assert [pool.apply(abs, (-n,)) for n in range(50)] == [*range(50)]
        assert pool.map(abs, range(-3, 0)) == [3, 2, 1]


def test_other_work_takes_the_worker_back(pool: Pool) -> None:
    for number in range(50):
        assert pool.apply(abs, (-number,)) == number
        if number % 5 == 0:
            assert pool.map(abs, range(-100, 0)) == [*range(100, 0, -1)]
        if number % 7 == 0:
            assert pool.submit(abs, -number).result(5) == number


def test_many_threads_call_at_once(pool: Pool) -> None:
    """More than there are workers: each gets what it has asked for."""

    def call(first: int) -> list[int]:
        return [pool.apply(itself, (n,)) for n in range(first, first + 200)]

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(call, range(0, 8000, 1000)))
    assert found == [[*range(first, first + 200)] for first in range(0, 8000, 1000)]


def test_a_slow_call_holds_nobody_up(pool: Pool, tmp_path: Any) -> None:
    """While one thread waits for a worker, all others have the other one."""
    name = str(tmp_path / "begun")
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(pool.apply, sleep_and_say, (2.0, name))
        eventually(lambda: os.path.exists(name), within=5)
        assert pool.map(abs, range(-1000, 0)) == [*range(1000, 0, -1)]
        assert [pool.apply(abs, (-n,)) for n in range(20)] == [*range(20)]
        assert not slow.done()
        assert slow.result(10) == name


@pytest.mark.parametrize("function", [os.abort, end_with_a_child])
def test_the_worker_dies(pool: Pool, function: Any) -> None:
    """The call fails, though a child of the worker has its channel; all others are done."""
    for _ in range(3):
        lend(pool)
        with pytest.raises(TaskLost, match=function.__name__):
            pool.apply(function)
        assert pool.apply(abs, (-2,)) == 2


def test_terminate_ends_who_waits(pool: Pool, tmp_path: Any) -> None:
    name = str(tmp_path / "begun")
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(pool.apply, sleep_and_say, (30.0, name))
        eventually(lambda: os.path.exists(name), within=5)
        pool.terminate()
        with pytest.raises(CancelledError):
            call.result(5)


def test_close_waits_for_who_waits(pool: Pool, tmp_path: Any) -> None:
    name = str(tmp_path / "begun")
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(pool.apply, sleep_and_say, (0.3, name))
        eventually(lambda: os.path.exists(name), within=5)
        pool.close()
        pool.join()
        assert call.result(5) == name


class Interrupted(BaseException):
    """As KeyboardInterrupt, which pytest would take for its own."""


def test_an_interrupt_at_any_instant(pool: Pool) -> None:
    """As Ctrl-C: wherever it hits, the pool is as good as before."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    chance = random.Random(4)
    interrupts = 0
    try:
        for number in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 6e-4))
                for _ in range(50):
                    assert pool.apply(abs, (-number,)) == number
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupted:
                interrupts += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            if number % 10 == 0:
                assert pool.submit(abs, -number).result(5) == number
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupts > 100
    assert [pool.apply(abs, (-n,)) for n in range(20)] == [*range(20)]
    eventually(lambda: pool.statistics().busy == 0 and threading.active_count() < 10, within=5)


def test_a_second_interrupt_while_the_first_is_seen_to(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is had back all the same: the pool can be closed."""
    loan = pool._engine._dispatcher.loans.out[0]
    abandon = Loan._abandon
    seen: list[Loan] = []

    def interrupted(self: Loan, future: Any) -> None:
        seen.append(self)
        if len(seen) == 1:
            raise Interrupted
        abandon(self, future)

    def interrupt(*_: object) -> None:
        raise Interrupted

    monkeypatch.setattr(Loan, "_abandon", interrupted)
    monkeypatch.setattr(loan.handle.channel, "wait", interrupt)
    with pytest.raises(Interrupted):
        pool.apply(abs, (-1,))
    monkeypatch.undo()
    assert seen == [loan, loan]
    pool.close()
    assert pool._engine.join(5)
