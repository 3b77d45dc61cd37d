"""Who is woken, who comes next, and what happens when that one is not there any more."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import Empty
from typing import Any

import pytest

from eventually import eventually
from manycore import Manager
from manycore.state import gates
from manycore.state.bells import waiting
from manycore.state.locks import PATIENCE
from state_support import Child, Start, is_sleeping


def after_sleeping(act: Callable[[], Any]) -> None:
    """Lets this process do something between its next wake-up and what it was woken for."""
    sleep = gates.Sleeper.sleep

    def sleep_and_act(sleeper: gates.Sleeper, watched: Any = ()) -> bool:
        result = sleep(sleeper, watched)
        act()
        return result

    gates.Sleeper.sleep = sleep_and_act  # type: ignore[assignment,method-assign]  # in a child that ends soon


def kill_oneself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def switches(child: Child) -> int:
    """How often a process has gone to sleep."""
    with open(f"/proc/{child.pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt"))


def is_longer(proxy: Any, there: int) -> bool:
    return waiting(proxy) > there


def line_up(start: Start, proxy: Any, *functions: Callable[[], Any]) -> list[Child]:
    """Starts processes that wait one behind the other."""
    found = []
    for function in functions:
        there = waiting(proxy)
        found.append(start(function))
        eventually(partial(is_longer, proxy, there), within=10)
    eventually(lambda: all(is_sleeping(child.pid) for child in found), within=10)
    return found


KINDS: dict[str, tuple[Callable[[Manager], Any], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "get": (lambda m: m.Queue(), lambda q: q.get(timeout=20.0), lambda q: q.put(1)),
    "put": (
        lambda m: m.Queue(maxsize=1),
        lambda q: q.put(1, timeout=20.0),
        lambda q: q.get(timeout=0.0),
    ),
    "lock": (lambda m: m.Lock(), lambda k: k.acquire(timeout=20.0), lambda k: k.release()),
    "rlock": (lambda m: m.RLock(), lambda k: k.acquire(timeout=20.0), lambda k: k.release()),
    "semaphore": (
        lambda m: m.Semaphore(),
        lambda k: k.acquire(timeout=20.0),
        lambda k: k.release(),
    ),
}


@pytest.fixture(params=KINDS)
def line(request: pytest.FixtureRequest, manager: Manager) -> tuple[Any, Any, Any]:
    """A container for which one has to wait, how one waits, and what lets one go on."""
    make, wait, go = KINDS[request.param]
    proxy = make(manager)
    if request.param == "put":
        proxy.put(0)
    elif request.param != "get":
        proxy.acquire()
    return proxy, lambda: wait(proxy), lambda: go(proxy)


def test_one_waiter_is_woken_at_a_time(line: tuple[Any, Any, Any], start: Start) -> None:
    """The first in the line goes on; the others sleep through it."""
    proxy, wait, go = line
    done = os.eventfd(0, os.EFD_SEMAPHORE)

    def wait_and_stay() -> None:
        wait()
        os.eventfd_write(done, 1)
        signal.pause()

    waiters = line_up(start, proxy, *[wait_and_stay] * 4)
    before = [switches(child) for child in waiters]
    go()
    os.eventfd_read(done)
    eventually(lambda: is_sleeping(waiters[0].pid), within=10)
    assert [switches(child) for child in waiters[1:]] == before[1:]
    assert switches(waiters[0]) > before[0]
    os.close(done)


def test_a_wake_up_is_not_lost_with_who_got_it(line: tuple[Any, Any, Any], start: Start) -> None:
    """Whoever is killed between being woken and going on leaves its turn to the next."""
    proxy, wait, go = line

    def wait_and_die() -> None:
        after_sleeping(kill_oneself)
        wait()

    first, second, third = line_up(start, proxy, wait_and_die, wait_and_die, wait)
    begun = time.monotonic()
    go()
    third.join()
    assert time.monotonic() - begun < 1.0
    assert first.wait() == second.wait() == -signal.SIGKILL


def test_who_leaves_the_line_does_not_break_it(manager: Manager, start: Start) -> None:
    """Between one who is killed and one who waits on, another one's time was over."""
    jobs = manager.Queue()

    def wait_and_die() -> None:
        after_sleeping(kill_oneself)
        jobs.get(timeout=20.0)

    def leave() -> None:
        with pytest.raises(Empty):
            jobs.get(timeout=0.3)

    _, leaving, last = line_up(start, jobs, wait_and_die, leave, lambda: jobs.get(timeout=20.0))
    leaving.join()
    jobs.put(1)
    last.join()


def test_as_many_are_woken_as_there_are_items(manager: Manager, start: Start) -> None:
    """Every item finds a consumer, though several of those that are woken die."""
    jobs = manager.Queue()

    def wait_and_die() -> None:
        after_sleeping(kill_oneself)
        jobs.get(timeout=20.0)

    def work() -> None:
        jobs.get(timeout=20.0)

    found = line_up(start, jobs, wait_and_die, work, wait_and_die, work, work)
    with manager.transaction():
        for number in range(3):
            jobs.put(number)
    for child in (found[1], found[3], found[4]):
        child.join()
    assert jobs.empty()


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_a_greedy_process_starves_nobody(kind: str, manager: Manager, start: Start) -> None:
    """One that takes a lock again as soon as it gave it back lets the others have their turn."""
    lock = getattr(manager, kind)()

    def hog() -> None:
        while True:
            with lock:
                pass

    start(hog)
    start(hog)
    for _ in range(10):
        assert lock.acquire(timeout=20 * PATIENCE)
        lock.release()


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
@pytest.mark.parametrize("ending", ["takes it", "is killed", "is interrupted"])
def test_a_lock_is_kept_for_who_has_waited_long(
    kind: str, ending: str, manager: Manager, start: Start
) -> None:
    """It is not for who comes later, as long as who waited is still there to take it."""
    lock = getattr(manager, kind)()
    woken, go_on = os.eventfd(0), os.eventfd(0)

    def pause() -> None:
        os.eventfd_write(woken, 1)
        os.eventfd_read(go_on)
        if ending == "is interrupted":
            raise KeyboardInterrupt

    def take() -> None:
        after_sleeping(pause)
        try:
            assert lock.acquire(timeout=20.0)
        except KeyboardInterrupt:
            assert ending == "is interrupted"
        else:
            lock.release()

    lock.acquire()
    (child,) = line_up(start, lock, take)
    time.sleep(PATIENCE)  # it has to have waited so long
    lock.release()
    os.eventfd_read(woken)
    assert not lock.locked()
    assert not lock.acquire(blocking=False)
    if ending == "is killed":
        child.kill()
    else:
        os.eventfd_write(go_on, 1)
        child.join()
    assert lock.acquire(timeout=1.0)
    assert lock.lost_holder is None
    os.close(woken)
    os.close(go_on)


def test_threads_of_one_process_take_turns(manager: Manager) -> None:
    """The rule is for threads: one of them cannot pass over another of the same process."""
    lock = manager.Lock()
    over = threading.Event()

    def hog() -> None:
        while not over.is_set():
            with lock:
                pass

    greedy = threading.Thread(target=hog)
    greedy.start()
    try:
        for _ in range(5):
            assert lock.acquire(timeout=20 * PATIENCE)
            lock.release()
    finally:
        over.set()
        greedy.join()
