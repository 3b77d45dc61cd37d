"""Locks, queues, events and channels between real processes, and real kills."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time

import pytest

from eventually import eventually
from manycore import Manager, StateClosed, StateError
from manycore.state.bells import waiting
from state_support import Start, cpu_seconds, is_sleeping


def hold_for_ever(lock: object, held: object) -> None:
    lock.acquire()  # type: ignore[attr-defined]
    held.set()  # type: ignore[attr-defined]
    signal.pause()


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "BoundedSemaphore"])
def test_a_killed_holder_frees_its_lock_at_once(manager: Manager, start: Start, kind: str) -> None:
    """Who waits is woken by the kernel, takes over, and is told from whom."""
    lock, held = getattr(manager, kind)(), manager.Event()
    holder = start(hold_for_ever, lock, held)
    assert held.wait(10.0)
    assert not lock.acquire(timeout=0.05)
    threading.Timer(0.2, holder.kill).start()
    begun = time.monotonic()
    assert lock.acquire(timeout=10.0)
    assert time.monotonic() - begun < 1.0
    assert lock.lost_holder == holder.pid
    lock.release()
    assert lock.lost_holder is None


def test_a_chain_of_waiters_survives_the_death_of_each(manager: Manager, start: Start) -> None:
    """The holder, the one that takes over, and others of the line are killed: the last gets it."""
    lock, turns = manager.Lock(), manager.list()

    def take_and_stay() -> None:
        with lock:
            turns.append(os.getpid())
            signal.pause()

    line = [start(take_and_stay) for _ in range(5)]
    for taken in range(1, 5):
        eventually(lambda: len(turns) == taken, within=10)  # noqa: B023  # asked at once
        next(one for one in line if one.pid == turns[-1]).kill()
    eventually(lambda: len(turns) == 5, within=10)
    assert len(set(turns)) == 5


def test_waiting_costs_no_cpu_and_leaves_nothing_behind(manager: Manager, start: Start) -> None:
    """A waiter sleeps in the kernel; when it gave up there is neither a row nor a pipe."""
    lock = manager.Lock()
    lock.acquire()
    waiter = start(lock.acquire, True, 0.7)
    eventually(lambda: waiting(lock) == 1 and is_sleeping(waiter.pid), within=10)
    before = cpu_seconds(waiter.pid)
    time.sleep(0.3)
    assert cpu_seconds(waiter.pid) - before <= 0.01
    assert manager.statistics().containers[0].waiters == 1
    waiter.join()
    assert waiting(lock) == 0
    assert os.listdir(os.path.join(manager.path, "gates")) == []


def test_a_signal_does_not_end_a_wait(manager: Manager, start: Start) -> None:
    """A handled signal is handled, and the wait goes on."""
    lock, got = manager.Lock(), manager.Event()
    lock.acquire()

    def wait_through_signals() -> None:
        signal.signal(signal.SIGUSR1, lambda *_: None)
        got.set()
        assert lock.acquire(timeout=10.0)

    waiter = start(wait_through_signals)
    assert got.wait(10.0)
    eventually(lambda: waiting(lock) == 1, within=10)
    for _ in range(5):
        waiter.signal(signal.SIGUSR1)
        time.sleep(0.01)
    assert not waiter.is_over()
    lock.release()
    waiter.join()


def test_a_lock_excludes_threads_and_processes(manager: Manager, start: Start) -> None:
    """Read, pause, write under the lock: nothing is lost, whoever does it."""
    lock, box = manager.Lock(), manager.Value("i", 0)

    def count() -> None:
        def one() -> None:
            for _ in range(100):
                with lock:
                    box.value += 1

        threads = [threading.Thread(target=one) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for child in [start(count) for _ in range(3)]:
        child.join()
    assert box.value == 600


def test_an_rlock_belongs_to_a_thread(manager: Manager) -> None:
    """Its thread may take it again; another may neither take nor release it."""
    lock = manager.RLock()
    with lock, lock:
        outcome: list[object] = []

        def other() -> None:
            outcome.append(lock.acquire(timeout=0.01))
            with pytest.raises(RuntimeError):
                lock.release()

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert outcome == [False]
    with pytest.raises(RuntimeError):
        lock.release()


def test_releasing_too_often_is_refused(manager: Manager) -> None:
    """As the standard library's locks do."""
    with pytest.raises(RuntimeError):
        manager.Lock().release()
    with pytest.raises(ValueError, match="too many"):
        manager.BoundedSemaphore(1).release()
    plain = manager.Semaphore(0)
    plain.release(2)
    assert plain.get_value() == 2


def test_waiting_inside_a_transaction_is_refused(manager: Manager) -> None:
    """Nobody else could ever end the wait."""
    lock, jobs = manager.Lock(), manager.Queue()
    lock.acquire()
    with manager.transaction():
        assert not lock.acquire(blocking=False)
        with pytest.raises(StateError, match="inside a transaction"):
            lock.acquire()
        with pytest.raises(StateError, match="inside a transaction"):
            jobs.get()
        with pytest.raises(queue.Empty):
            jobs.get_nowait()


def test_a_reader_sleeps_until_there_is_an_item(manager: Manager, start: Start) -> None:
    """Items arrive in order, across processes, and a blocked reader is woken."""
    there, back = manager.Queue(), manager.Queue()

    def echo() -> None:
        while (item := there.get()) is not None:
            back.put(item * 2)

    child = start(echo)
    for number in range(50):
        there.put(number)
        assert back.get(timeout=10.0) == number * 2
    there.put(None)
    child.join()


def test_a_full_queue_makes_writers_wait(manager: Manager, start: Start) -> None:
    """`Full` at once or after the time; a taken item lets the writer in."""
    jobs = manager.Queue(2)
    jobs.put(1)
    jobs.put(2)
    assert jobs.full()
    with pytest.raises(queue.Full):
        jobs.put_nowait(3)
    with pytest.raises(queue.Full):
        jobs.put(3, timeout=0.02)
    writer = start(jobs.put, 3)
    eventually(lambda: waiting(jobs) == 1, within=10)
    assert jobs.get() == 1
    writer.join()
    assert [jobs.get(), jobs.get()] == [2, 3]
    with pytest.raises(queue.Empty):
        jobs.get(timeout=0.02)


def test_a_writer_exits_without_its_reader(manager: Manager, start: Start) -> None:
    """However much it put: nothing waits for a pipe to drain."""
    jobs = manager.Queue()

    def put() -> None:
        for _ in range(50):
            jobs.put(b"x" * 100_000)

    start(put).join()
    assert jobs.qsize() == 50


def test_an_item_on_loan_returns_when_its_consumer_dies(manager: Manager, start: Start) -> None:
    """It comes back to its place, and who waits for it is woken by the death."""
    jobs, has = manager.Queue(), manager.Event()
    jobs.put("first")

    def take_and_stay() -> None:
        loan = jobs.get(ack=True)
        has.set()
        signal.pause()
        del loan

    consumer = start(take_and_stay)
    assert has.wait(10.0)
    threading.Timer(0.2, consumer.kill).start()
    begun = time.monotonic()
    with jobs.get(timeout=10.0, ack=True) as item:
        assert item == "first"
    assert time.monotonic() - begun < 1.2
    assert jobs.join(timeout=1.0)


def test_a_loan_ends_once(manager: Manager) -> None:
    """Acknowledged it is gone; put back, or when the block raises, it is first in line again."""
    jobs = manager.PriorityQueue()
    for number in (3, 1, 2):
        jobs.put(number)
    loan = jobs.get(ack=True)
    assert loan.item == 1
    loan.put_back()
    with pytest.raises(StateError):
        loan.ack()
    with pytest.raises(LookupError), jobs.get(ack=True):
        raise LookupError
    assert [jobs.get(), jobs.get(), jobs.get()] == [1, 2, 3]


def test_join_waits_for_task_done(manager: Manager, start: Start) -> None:
    """And `task_done` may not be said more often than there were items."""
    jobs = manager.JoinableQueue()
    for number in range(3):
        jobs.put(number)
    assert not jobs.join(timeout=0.01)

    def work() -> None:
        for _ in range(3):
            jobs.get()
            jobs.task_done()

    worker = start(work)
    assert jobs.join(timeout=10.0)
    worker.join()
    with pytest.raises(ValueError, match="too many"):
        jobs.task_done()


def test_an_event_wakes_everybody_even_if_only_for_a_moment(manager: Manager, start: Start) -> None:
    """Set and cleared at once: all who waited were woken."""
    event = manager.Event()

    def wait() -> None:
        assert event.wait(10.0)

    line = [start(wait) for _ in range(3)]
    eventually(lambda: waiting(event) == 3, within=10)
    event.set()
    event.clear()
    for child in line:
        child.join()
    assert not event.wait(0.01)


def test_notify_wakes_so_many_of_the_living(manager: Manager, start: Start) -> None:
    """The longest waiting first; the dead do not count."""
    turn, woken = manager.Condition(), manager.list()

    def wait(name: int) -> None:
        with turn:
            if turn.wait(10.0):
                woken.append(name)

    line = []
    for name in range(3):
        line.append(start(wait, name))
        eventually(lambda: waiting(turn) == name + 1, within=10)  # noqa: B023  # asked at once
    line[0].kill()
    with turn:
        turn.notify()
    eventually(lambda: list(woken) == [1], within=10)
    with turn:
        turn.notify_all()
    line[2].join()
    assert list(woken) == [1, 2]
    with pytest.raises(RuntimeError):
        turn.notify()
    with turn:
        assert not turn.wait_for(lambda: False, timeout=0.02)


def test_a_barrier_opens_for_all_and_breaks_for_all(manager: Manager, start: Start) -> None:
    """All pass together; a killed process breaks it for who waits; `reset` makes it new."""
    barrier, places = manager.Barrier(3), manager.list()

    def meet() -> None:
        places.append(barrier.wait(10.0))

    line = [start(meet), start(meet)]
    assert barrier.wait(10.0) in range(3)
    for child in line:
        child.join()
    assert len(places) == 2

    victim = start(meet)
    eventually(lambda: barrier.n_waiting == 1, within=10)

    def meet_in_vain() -> None:
        with pytest.raises(threading.BrokenBarrierError):
            barrier.wait(10.0)

    other = start(meet_in_vain)
    eventually(lambda: barrier.n_waiting == 2, within=10)
    victim.kill()
    other.join()
    assert barrier.broken
    barrier.reset()
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(0.01)


def test_every_subscriber_gets_every_message(manager: Manager, start: Start) -> None:
    """In order; a slow one misses the oldest beyond the buffer, and is told how many."""
    news, got = manager.channel("news", buffer=10), manager.Queue()
    slow = news.subscribe()

    def listen() -> None:
        reader = news.subscribe(replay=True)
        got.put([reader.get(timeout=10.0) for _ in range(5)])

    line = [start(listen) for _ in range(2)]
    for number in range(5):
        news.publish(number)
        time.sleep(0.01)
    assert [got.get(timeout=10.0), got.get(timeout=10.0)] == [[0, 1, 2, 3, 4]] * 2
    for child in line:
        child.join()
    for number in range(5, 25):
        news.publish(number)
    assert [slow.get(timeout=0) for _ in range(10)] == list(range(15, 25))
    assert slow.missed == 15
    with pytest.raises(queue.Empty):
        slow.get(timeout=0.01)


def test_who_waits_for_a_container_that_is_deleted_is_told(manager: Manager, start: Start) -> None:
    """It is woken, and gets `StateClosed`."""
    jobs = manager.Queue("jobs")

    def get_in_vain() -> None:
        with pytest.raises(StateClosed):
            jobs.get(timeout=10.0)

    waiter = start(get_in_vain)
    eventually(lambda: waiting(jobs) == 1, within=10)
    manager.delete("jobs")
    waiter.join()
    with pytest.raises(StateClosed):
        jobs.put(1)


def test_a_stopped_process_holds_up_only_who_needs_it(manager: Manager, start: Start) -> None:
    """A waiter that is stopped by a signal misses nothing and keeps nobody awake."""
    lock, got = manager.Lock(), manager.counter()
    lock.acquire()

    def take() -> None:
        assert lock.acquire(timeout=20.0)
        got.add()
        lock.release()

    stopped, other = start(take), start(take)
    eventually(lambda: waiting(lock) == 2, within=10)
    stopped.signal(signal.SIGSTOP)
    os.waitpid(stopped.pid, os.WUNTRACED)
    lock.release()
    other.join()
    stopped.signal(signal.SIGCONT)
    stopped.join()
    assert got.get() == 2
