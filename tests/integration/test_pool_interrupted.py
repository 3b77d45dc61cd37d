"""Ctrl-C at any moment: the caller gets one KeyboardInterrupt, and the pool goes on."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed, wait
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from manycore.pool.classic import Pool
from manycore.pool.executor import Executor
from manycore.pool.threads import ThreadPool

ROUNDS = 15
WITHIN = 20.0  # seconds


@pytest.fixture
def interrupted() -> Iterator[Callable[[], AbstractContextManager[Callable[[], None]]]]:
    """Gives a block that Ctrl-C ends, soon after what it gives was called."""
    # by the processor's time, and not the clock: the other timer belongs to the test's time limit
    before = signal.signal(signal.SIGVTALRM, signal.default_int_handler)
    chance = random.Random(1)

    def soon() -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, chance.uniform(1e-6, 2e-2))

    @contextmanager
    def block() -> Iterator[Callable[[], None]]:
        try:
            with pytest.raises(KeyboardInterrupt):
                yield soon
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    yield block
    signal.signal(signal.SIGVTALRM, before)


def use(pool: Any) -> None:
    """Uses it in every way in which one waits for a result, for a map or for several calls."""
    assert pool.submit(abs, -1).result(WITHIN) == 1
    assert list(pool.map(abs, range(50))) == list(range(50))
    futures = [pool.submit(abs, -number) for number in range(20)]
    assert wait(futures, WITHIN).not_done == set()
    futures = [pool.submit(abs, -number) for number in range(20)]
    assert {future.result() for future in as_completed(futures, WITHIN)} == set(range(20))
    if isinstance(pool, Pool):
        assert list(pool.imap(abs, range(50))) == list(range(50))
        assert pool.apply_async(abs, (-3,)).get(WITHIN) == 3
        assert [pool.apply(abs, (-number,)) for number in range(20)] == list(range(20))


@pytest.mark.parametrize("kind", [Pool, Executor, ThreadPool])
def test_an_interruption_leaves_a_pool_as_it_was(kind: Any, interrupted: Any) -> None:
    """However often, and whatever the caller was about to do."""
    with kind(2) as pool:
        for _ in range(ROUNDS):
            with interrupted() as soon:
                soon()
                while True:
                    use(pool)
        use(pool)
