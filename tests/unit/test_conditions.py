"""A KeyboardInterrupt at any moment leaves conditions and events as they were."""

from __future__ import annotations

import random
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import pytest

from eventually import interrupt_from_here
from manycore.base.channel import Channel
from manycore.base.conditions import Condition, Event, poll

ROUNDS = 60  # the standard library's condition stays held after one of seven


@pytest.fixture
def interrupted() -> Iterator[Callable[[], None]]:
    """Gives what interrupts the caller very soon, in its own code."""
    # by the processor's time, and not the clock: the other timer belongs to the test's time limit
    before = signal.signal(signal.SIGVTALRM, signal.default_int_handler)
    chance = random.Random(1)
    yield lambda: _set_timer(chance.uniform(1e-6, 3e-4))
    _set_timer(0)
    signal.signal(signal.SIGVTALRM, before)


def _set_timer(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)


@pytest.fixture
def other_thread() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def hold(condition: threading.Condition) -> bool:
    """Says whether nobody else holds it."""
    if not condition.acquire(timeout=5):
        return False
    condition.release()
    return True


def test_a_condition_is_not_left_held(
    interrupted: Callable[[], None], other_thread: Executor
) -> None:
    """Whoever notifies gets its lock, and what is raised is the KeyboardInterrupt."""
    condition = Condition()
    for _ in range(ROUNDS):
        with pytest.raises(KeyboardInterrupt):
            interrupted()
            while True:
                with condition:
                    condition.wait(0)
        assert other_thread.submit(hold, condition).result()


def test_an_event_is_not_left_held(interrupted: Callable[[], None], other_thread: Executor) -> None:
    """Whoever sets it need not wait."""
    event = Event()
    for _ in range(ROUNDS):
        with pytest.raises(KeyboardInterrupt):
            interrupted()
            while True:
                event.wait(0)
                event.clear()
        assert other_thread.submit(event.set).result(5) is None
        assert event.wait(5)


def test_waiting_goes_on_after_an_interruption(other_thread: Executor) -> None:
    """It is a condition as any other."""
    condition = Condition()
    with condition:
        told = other_thread.submit(_notify, condition)
        assert condition.wait(5)
    assert told.result() is None


def _notify(condition: threading.Condition) -> None:
    with condition:
        condition.notify_all()


@pytest.mark.parametrize("wait", ["poll", "channel"])
def test_a_ctrl_c_that_no_system_call_feels_ends_a_wait(wait: str) -> None:
    """It looks up by itself: the signal went to another thread, which does not interrupt it."""
    ours, theirs = Channel.pair()
    poller = select.poll()
    poller.register(ours, select.POLLIN)
    other = threading.Timer(0.1, interrupt_from_here)
    with ours, theirs:
        other.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            if wait == "poll":
                poll(poller, timeout=10)
            else:
                ours.wait()
        other.join()
        assert time.monotonic() - began < 5


def test_a_poll_gives_what_is_ready_and_knows_its_deadline() -> None:
    """In the main thread and in another."""
    ours, theirs = Channel.pair()
    poller = select.poll()
    poller.register(ours, select.POLLIN)
    with ours, theirs, ThreadPoolExecutor(1) as executor:
        for call in (poll, lambda *arguments: executor.submit(poll, *arguments).result()):
            assert call(poller, 0.3) == []
        theirs.send(b"hello")
        for call in (poll, lambda *arguments: executor.submit(poll, *arguments).result()):
            assert call(poller, 5.0) == [(ours.fileno(), select.POLLIN)]
