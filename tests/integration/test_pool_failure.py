"""The failure matrix: whatever a task does, only the task fails."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest

from eventually import eventually
from manycore.base.worker_lost import WorkerLost
from manycore.errors import RemoteError, SendError, TaskTimeout
from manycore.pool.classic import Pool
from manycore.pool.lost import TaskLost

WITHIN = 5.0  # seconds: a second is promised; the machine may be busy


def kill_self(signum: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), signum)


def segfault() -> None:
    ctypes.string_at(0)


class PeculiarError(Exception):
    """Its constructor does not take its own `args`."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")


class PoisonedError(Exception):
    """It can be written, but not read."""

    def __reduce__(self) -> Any:
        return (explode, ())


def explode() -> None:
    raise RuntimeError("cannot be read")


class Explosive:
    """A value that can be written, but not read."""

    def __reduce__(self) -> Any:
        return (explode, ())


class Deadly:
    """A value that kills who reads it."""

    def __reduce__(self) -> Any:
        return (kill_self, ())


def raise_it(kind: type[BaseException], *args: object) -> None:
    raise kind(*args)


def with_neighbours(pool: Pool, function: Callable[..., Any], *args: Any) -> BaseException | None:
    """Runs a task among others that must be fine, and gives what it raised."""
    before = [pool.submit(pow, 2, n) for n in range(10)]
    victim = pool.submit(function, *args)
    after = [pool.submit(pow, 2, n) for n in range(10)]
    error = victim.exception(WITHIN)
    assert [f.result(WITHIN) for f in before + after] == [2**n for n in range(10)] * 2
    assert pool.apply(abs, (-1,)) == 1
    return error


def test_a_worker_that_is_killed_costs_its_task(pool: Pool) -> None:
    """The error says who, how and what; the neighbours finish, the pool goes on."""
    error = with_neighbours(pool, kill_self)
    assert isinstance(error, TaskLost | WorkerLost | BrokenProcessPool)
    assert isinstance(error, TaskLost)
    assert error.exitcode == -signal.SIGKILL
    assert error.exit == "killed by SIGKILL"
    assert "kill_self" in error.task
    assert error.may_have_run
    assert 1_000_000 < error.peak_memory < 10_000_000_000


def test_a_task_that_kills_who_reads_it_is_lost(pool: Pool) -> None:
    """After a few workers, and it alone: those that were sent with it are done by others."""
    error = with_neighbours(pool, print, Deadly())
    assert isinstance(error, TaskLost)
    assert error.exit == "killed by SIGKILL"
    assert not error.may_have_run
    assert "reading the arguments of print" in str(error)


def test_an_item_that_kills_who_reads_it_is_lost(pool: Pool) -> None:
    """The others of its map are done."""
    items = [n if n != 50 else Deadly() for n in range(100)]
    results = pool.imap(str, items)
    assert [next(results) for _ in range(50)] == [str(n) for n in range(50)]
    with pytest.raises(TaskLost, match="reading the arguments of str"):
        next(results)
    assert list(results) == [str(n) for n in range(51, 100)]


def test_a_worker_that_is_stopped_before_it_begins_is_replaced() -> None:
    """A task with a time limit does not wait for it: another worker does the task."""
    with Pool(1, timeout=0.2, grace=0.2) as pool:
        pid = pool.apply(os.getpid)
        os.kill(pid, signal.SIGSTOP)
        assert pool.submit(os.getpid).result(WITHIN) != pid


def test_a_worker_that_crashes_leaves_its_stack(pool: Pool) -> None:
    """A segmentation fault is told with the line of Python that led to it."""
    error = with_neighbours(pool, segfault)
    assert isinstance(error, TaskLost)
    assert error.exitcode == -signal.SIGSEGV
    assert "segfault" in error.stack


def test_a_task_may_end_its_process(pool: Pool) -> None:
    """`os._exit` is a loss with its exit code."""
    error = with_neighbours(pool, os._exit, 7)
    assert isinstance(error, TaskLost)
    assert error.exitcode == 7


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_base_exceptions_are_results(pool: Pool, kind: type[BaseException]) -> None:
    """`sys.exit` and its kin propagate like any exception, and the worker lives."""
    pids = set(pool.map(pid_slowly, range(8)))
    assert isinstance(with_neighbours(pool, raise_it, kind), kind)
    assert set(pool.map(pid_slowly, range(8))) <= pids | set(pool.map(pid_slowly, range(8)))


def pid_slowly(_: object) -> int:
    time.sleep(0.01)
    return os.getpid()


def test_an_exception_that_cannot_be_rebuilt_arrives_anyway(pool: Pool) -> None:
    """With its name, its arguments and its traceback."""
    error = with_neighbours(pool, raise_it, PeculiarError, 402, "card")
    assert isinstance(error, RemoteError)
    assert "PeculiarError" in error.type_name
    assert "402 card" in str(error)
    assert "raise_it" in error.traceback


def test_an_exception_that_cannot_be_read_arrives_anyway(pool: Pool) -> None:
    """It is tried where it was raised, so that it hurts nobody here."""
    error = with_neighbours(pool, raise_it, PoisonedError)
    assert isinstance(error, RemoteError)


def test_a_result_that_cannot_be_written(pool: Pool) -> None:
    """The error names it."""
    error = with_neighbours(pool, threading.Lock)
    assert isinstance(error, SendError)


def test_a_result_that_cannot_be_read(pool: Pool) -> None:
    """It is an error of its task alone."""
    error = with_neighbours(pool, Explosive)
    assert isinstance(error, RuntimeError)


def test_an_argument_that_cannot_be_written(pool: Pool) -> None:
    """The error is on its own future, and names the attribute."""
    error = with_neighbours(pool, print, {"lock": threading.Lock()})
    assert isinstance(error, SendError)
    assert error.path == "args[0]['lock']"


def test_an_argument_that_cannot_be_read(pool: Pool) -> None:
    """It is an error of its task alone."""
    error = with_neighbours(pool, id, Explosive())
    assert isinstance(error, RuntimeError)


def test_an_item_of_a_map_that_cannot_be_read_or_written(pool: Pool) -> None:
    """Each is an error of its own item; the others are done."""
    items = [1, Explosive(), 2, threading.Lock(), 3]
    results = pool.imap(type, items)
    kinds: list[Any] = []
    for _ in items:
        try:
            kinds.append(next(results))
        except Exception as error:
            kinds.append(type(error))
    assert kinds == [int, RuntimeError, int, SendError, int]


def test_a_function_that_cannot_be_written(pool: Pool) -> None:
    """The same, for calls and for maps."""
    lock = threading.Lock()
    assert isinstance(with_neighbours(pool, lambda: lock), SendError)
    with pytest.raises(SendError):
        pool.map(lambda x: (x, lock), [1, 2])


def test_a_stopped_worker_is_ended_when_its_task_s_time_is_over(pool: Pool) -> None:
    """SIGSTOP cannot hold a task up for longer than its limit and the grace."""
    began = time.monotonic()
    stopped = pool.apply_async(kill_self, (signal.SIGSTOP,), timeout=0.2)
    neighbour = pool.submit(pow, 2, 3)
    with pytest.raises(TaskTimeout) as caught:
        stopped.result(WITHIN)
    assert caught.value.ended
    assert time.monotonic() - began < 4  # 0.7 is promised; the machine may be busy
    assert neighbour.result(WITHIN) == 8
    assert pool.map(abs, range(10)) == list(range(10))


def test_what_was_queued_behind_the_victim_runs_elsewhere(pool: Pool) -> None:
    """Short tasks share batches; those that had not begun are done all the same."""
    pool.map(abs, range(20_000))  # now it is known how short they are
    for _ in range(5):
        futures = [pool.submit(killer, n) for n in range(2_000)]
        lost = [n for n, f in enumerate(futures) if f.exception(WITHIN) is not None]
        assert lost == [1_000]
        assert all(f.result() == n for n, f in enumerate(futures) if n != 1_000)


def killer(number: int) -> int:
    if number == 1_000:
        kill_self()
    return number


def test_random_kills_lose_no_more_than_what_ran(pool: Pool) -> None:
    """Under a storm of kills each task is done right, or is lost; nobody waits."""
    stop = threading.Event()
    kills = 0

    def storm() -> None:
        nonlocal kills
        while not stop.wait(0.01):
            for handle in list(pool._engine.handles.values()):
                if not handle.tasks:
                    continue  # it is being born
                try:
                    os.kill(handle.pid, signal.SIGKILL)
                    kills += 1
                except ProcessLookupError:
                    pass

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        began = time.monotonic()
        lost = done = 0
        while kills < 100 and time.monotonic() - began < 20:
            futures = [pool.submit(abs, -n) for n in range(500)]
            _, late = wait(futures, timeout=WITHIN)
            assert not late
            for n, future in enumerate(futures):
                if future.exception() is None:
                    assert future.result() == n
                    done += 1
                else:
                    assert isinstance(future.exception(), TaskLost)
                    lost += 1
    finally:
        stop.set()
        thread.join()
    assert kills >= 100
    assert lost <= kills
    assert done > lost


def test_an_initializer_that_raises_is_told_and_burns_nothing() -> None:
    """After a few tries the pool raises the initializer's own exception."""
    with Pool(2, initializer=explode) as pool:
        future = pool.submit(abs, -1) if pool._engine.broken is None else None
        if future is not None:
            with pytest.raises(RuntimeError, match="cannot be read"):
                future.result(WITHIN)
        eventually(pool._engine.over.is_set, within=WITHIN)
        with pytest.raises(RuntimeError, match="cannot be read"):
            pool.submit(abs, -1)
        assert pool._engine.schedule.failed_boots <= 20


def test_an_initializer_that_kills_its_worker_is_told() -> None:
    """The same, as a loss."""
    with Pool(1, initializer=kill_self) as pool:
        with pytest.raises(TaskLost):
            pool.submit(abs, -1).result(WITHIN)


def test_a_slow_task_delays_nobody(pool: Pool) -> None:
    """What was in its batch is taken back, though it was expected to be short."""
    pool.map(nap, [0] * 10_000)
    began = time.monotonic()
    futures = [pool.submit(nap, 3 if n == 500 else 0) for n in range(1_000)]
    for n, future in enumerate(futures):
        if n != 500:
            assert future.result(WITHIN) is None
    assert time.monotonic() - began < 2
    assert not futures[500].done()


def test_what_is_taken_back_from_a_slow_task_is_done(pool: Pool) -> None:
    """Behind tasks that hang for a moment in batches of short ones, each gives its own result."""
    pool.map(pause_now_and_then, range(1, 90))  # now most are known to be short
    for _ in range(8):
        found = pool.map(pause_now_and_then, range(3_000))
        assert found == [(n,) for n in range(3_000)]


def pause_now_and_then(number: int) -> tuple[int]:
    if number % 97 == 0:
        time.sleep(0.013)  # longer than the pool thinks, and over when it has begun to wonder
    return (number,)


def nap(seconds: float) -> None:
    if seconds:
        time.sleep(seconds)


def test_workers_die_with_the_program() -> None:
    """SIGKILL of the program: idle and busy workers are gone within a second."""
    code = (
        "from manycore.pool.classic import Pool; import os, time\n"
        "pool = Pool(2)\n"
        "pool.apply(abs, (1,))\n"
        "pool.submit(time.sleep, 60)\n"
        "print(*[h.pid for h in pool._engine.handles.values()], flush=True)\n"
        "time.sleep(60)\n"
    )
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    pids = [int(pid) for pid in program.stdout.readline().split()]
    assert len(pids) == 2
    program.kill()
    program.wait()
    program.stdout.close()
    eventually(lambda: not any(map(is_alive, pids)), within=2)


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
