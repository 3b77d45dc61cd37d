"""Both faces, against the standard library's semantics; and every way in which a pool ends."""

from __future__ import annotations

import asyncio
import gc
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, as_completed, wait
from pathlib import Path
from typing import Any

import psutil
import pytest

from eventually import eventually
from manycore.base import template
from manycore.base.cpus import cpu_count
from manycore.errors import TaskTimeout
from manycore.pool import loans, onlookers
from manycore.pool.classic import Pool
from manycore.pool.executor import Executor
from manycore.pool.pace import MOST

WITHIN = 10.0  # seconds


def square(x: int) -> int:
    return x * x


def add(x: int, y: int) -> int:
    return x + y


def fail(x: Any) -> None:
    raise ValueError(x)


def grow(things: list[int]) -> int:
    things.append(1)
    return len(things)


def test_the_classic_face(pool: Pool) -> None:
    """Every method gives what the standard library's gives."""
    assert pool.apply(add, (1,), {"y": 2}) == 3
    assert pool.map(square, range(1000)) == [x * x for x in range(1000)]
    assert pool.map(square, iter(range(1000))) == [x * x for x in range(1000)]
    assert pool.map(square, []) == []
    assert list(pool.imap(square, range(1000), chunksize=7)) == [x * x for x in range(1000)]
    assert sorted(pool.imap_unordered(square, range(1000))) == [x * x for x in range(1000)]
    assert pool.starmap(add, [(1, 2), (3, 4)]) == [3, 7]
    assert pool.starmap_async(add, zip(range(3), range(3), strict=True)).get(WITHIN) == [0, 2, 4]
    result = pool.map_async(square, range(10))
    result.wait(WITHIN)
    assert result.ready()
    assert result.successful()
    assert pool.apply_async(time.sleep, (0.2,)).get(WITHIN) is None


def test_values_of_every_kind_come_back(pool: Pool) -> None:
    """Small and big, common and rare."""
    values: list[Any] = [
        None, True, False, 0, 1, -1, 2**59, 2**60, 2**64, 1.5, "", "ä" * 5000, b"x" * 300_000,
        [1, [2]], {"a": {1, 2}}, (), ..., print, int, ValueError("x").args, range(3),
    ]  # fmt: skip
    assert pool.map(itself, values) == values
    assert [pool.submit(itself, v).result(WITHIN) for v in values] == values
    assert [type(v) for v in pool.map(itself, values)] == [type(v) for v in values]


def itself(value: Any) -> Any:
    return value


def test_many_big_results(pool: Pool) -> None:
    """More than the shared memory holds, and bigger than one message."""
    for size in (100, 3_000, 30_000, 100_000):
        assert all(len(r) == size for r in pool.map(bytes, [size] * 300))


def test_callbacks(pool: Pool) -> None:
    """One for what a call returned, one for what it raised."""
    seen: list[Any] = []
    pool.apply_async(square, (3,), callback=seen.append).wait(WITHIN)
    pool.apply_async(fail, ("no",), error_callback=lambda e: seen.append(str(e))).wait(WITHIN)
    pool.map_async(square, [1, 2], callback=seen.append).wait(WITHIN)
    eventually(lambda: len(seen) == 3, within=WITHIN)
    assert seen == [9, "no", [1, 4]]


def test_a_failure_carries_the_traceback_of_the_worker(pool: Pool) -> None:
    """As its cause."""
    with pytest.raises(ValueError, match="7") as caught:
        pool.apply(fail, (7,))
    assert "in fail" in str(caught.value.__cause__)


def test_a_map_finishes_all_before_it_raises(pool: Pool) -> None:
    """And raises what the first item that failed raised."""
    with pytest.raises(ValueError, match=r"^2$"):
        pool.map(fail_from_two, range(10))
    assert not any(desk.batches for desk in pool._engine.schedule.desks.values())
    with pytest.raises(ValueError, match=r"^2$"):
        pool.map(fail_from_two, iter(range(10)))


def fail_from_two(x: int) -> int:
    if x >= 2:
        raise ValueError(x)
    return x


def test_an_imap_goes_on_after_a_failure(pool: Pool) -> None:
    """The failure takes its place among the results."""
    results = pool.imap(fail_from_two, [0, 5, 1])
    assert next(results) == 0
    with pytest.raises(ValueError, match="5"):
        next(results)
    assert next(results) == 1
    with pytest.raises(StopIteration):
        next(results)


def test_calls_get_their_own_copies(pool: Pool) -> None:
    """Calls that are sent together do not see each other's changes."""
    shared: list[int] = []
    assert {f.result(WITHIN) for f in [pool.submit(grow, shared) for _ in range(100)]} == {1}


def test_closures_and_lambdas(pool: Pool) -> None:
    """Functions that cannot be imported travel by value, as they are now."""
    factor = 2
    assert pool.map(lambda x: x * factor, [1, 2]) == [2, 4]
    assert pool.submit(lambda: factor).result(WITHIN) == 2
    factor = 3
    assert pool.submit(lambda: factor).result(WITHIN) == 3
    function = lambda: factor  # noqa: E731
    assert pool.apply(function) == 3
    factor = 4
    assert pool.apply(function) == 4


def test_an_endless_input_is_read_as_results_are_taken(pool: Pool) -> None:
    """A bounded part of it is read ahead, however short the tasks are."""
    counter = itertools.count()
    results = pool.imap(square, counter)
    assert list(itertools.islice(results, 50_000))[-1] == 49_999**2
    assert next(counter) < 50_000 + 2 * 4 * MOST + 1


def test_an_input_that_raises(pool: Pool) -> None:
    """Its exception comes after the results of what it gave."""

    def items() -> Iterator[int]:
        yield from range(3)
        raise OSError("the disk is gone")

    results = pool.imap(square, items())
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(OSError, match="gone"):
        next(results)


def test_results_in_time_or_an_error(pool: Pool) -> None:
    """`get`, `next` and `result` raise what the standard library's raise."""
    with pytest.raises(multiprocessing.TimeoutError):
        pool.apply_async(time.sleep, (1,)).get(0.01)
    with pytest.raises(multiprocessing.TimeoutError):
        pool.imap(time.sleep, [1]).next(0.01)
    with pytest.raises(TimeoutError):
        pool.submit(time.sleep, 1).result(0.01)


def test_the_executor_face(executor: Executor) -> None:
    """The functions of `concurrent.futures` take its futures."""
    futures = [executor.submit(square, x) for x in range(100)]
    done, pending = wait(futures, timeout=WITHIN)
    assert len(done) == 100
    assert not pending
    assert sorted(f.result() for f in as_completed(futures, WITHIN)) == [x * x for x in range(100)]
    slow, quick = executor.submit(time.sleep, 5), executor.submit(square, 2)
    assert quick in wait([slow, quick], WITHIN, FIRST_COMPLETED).done
    assert list(executor.map(add, [1, 2], [3, 4])) == [4, 6]
    assert slow.cancel(running=True)
    with pytest.raises(CancelledError):
        slow.result(WITHIN)


def test_it_serves_an_event_loop(executor: Executor) -> None:
    """`run_in_executor` and `wrap_future` wait for it."""

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        first = loop.run_in_executor(executor, square, 3)
        second = asyncio.wrap_future(executor.submit(square, 4))
        return list(await asyncio.gather(first, second))

    assert asyncio.run(main()) == [9, 16]


def test_cancelling_who_awaits_ends_the_work() -> None:
    """With `cancel_running`, the worker of a call that nobody awaits is replaced."""

    async def main(executor: Executor) -> None:
        loop = asyncio.get_running_loop()
        awaited = loop.run_in_executor(executor, time.sleep, 3600)
        await asyncio.to_thread(eventually, lambda: executor.statistics().busy, within=WITHIN)
        awaited.cancel()
        with pytest.raises(asyncio.CancelledError):
            await awaited

    with Executor(1, cancel_running=True) as executor:
        asyncio.run(main(executor))
        # there is one worker: as long as that sleeps, nothing else is done
        assert executor.submit(square, 2).result(60) == 4


def test_queued_calls_can_be_cancelled(executor: Executor) -> None:
    """They never run, and whoever waits for them is told."""
    blockers = [executor.submit(time.sleep, 0.5) for _ in range(4)]
    queued = [executor.submit(square, n) for n in range(50)]
    eventually(blockers[0].running, within=WITHIN)
    assert all(f.cancel() for f in queued)
    assert all(f.cancelled() for f in as_completed(queued, WITHIN))
    assert not blockers[0].cancel()
    assert executor.submit(square, 3).result(WITHIN) == 9


def test_a_time_limit_is_an_exception_inside_the_task(pool: Pool) -> None:
    """The task can clean up, the worker lives, and others are not concerned."""
    with pytest.raises(TaskTimeout):
        pool.apply(time.sleep, (30,), timeout=0.1)
    assert pool.apply(slow_to_clean_up, timeout=0.1) == "cleaned up"
    with pytest.raises(TaskTimeout):
        pool.map(time.sleep, [0, 0, 30, 0], timeout=0.2)
    results = pool.imap(time.sleep, [0, 30, 0], timeout=0.2)
    assert next(results) is None
    with pytest.raises(TaskTimeout):
        next(results)
    assert next(results) is None


def slow_to_clean_up() -> str:
    try:
        time.sleep(30)
    except TaskTimeout:
        return "cleaned up"
    return "slept"


def test_a_task_that_does_not_listen_is_ended(pool: Pool) -> None:
    """After the grace its worker is killed and replaced; the error tells the limit that was set."""
    began = time.monotonic()
    for use in (pool.apply, lambda f, timeout: pool.starmap(f, [()], timeout=timeout)):
        with pytest.raises(TaskTimeout) as caught:
            use(deaf, timeout=0.1)
        assert caught.value.ended
        assert caught.value.timeout == 0.1
        assert str(caught.value).endswith("took longer than 0.1 s; its worker was killed")
    assert time.monotonic() - began < 5


def deaf() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    time.sleep(30)


def test_retries(tmp_path: Any) -> None:
    """A task is tried again as often as it may be, with the failures that count."""
    with Pool(2, retries=2) as pool:
        assert pool.apply(third_time, (str(tmp_path / "a"), "raise")) == 3
        assert pool.apply(third_time, (str(tmp_path / "b"), "die")) == 3
        assert pool.map(third_time_here, [str(tmp_path / "c"), str(tmp_path / "d")]) == [3, 3]
        with pytest.raises(ValueError, match="never"):
            pool.apply(fail, ("never",))
        for name in "abcd":
            os.unlink(tmp_path / name)
    with Pool(2, retries=2, retry_on=OSError) as pool:
        with pytest.raises(ValueError, match="once"):
            pool.apply(third_time, (str(tmp_path / "a"), "once"))
        os.unlink(tmp_path / "a")


def third_time(path: str, how: str) -> int:
    with open(path, "a+") as file:
        file.write("x")
        file.flush()
        file.seek(0)
        count = len(file.read())
    if count < 3:
        if how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError(how)
    return count


def third_time_here(path: str) -> int:
    return third_time(path, "raise")


def test_workers_are_replaced_after_so_many_tasks() -> None:
    """And nothing stops for it."""
    with Pool(2, maxtasksperchild=3) as pool:
        pids = pool.map(pid_of, range(60))
        assert len(set(pids)) >= 20
        assert max(pids.count(pid) for pid in pids) <= 3
    with Executor(1, max_tasks_per_child=2) as executor:
        assert [executor.submit(square, n).result(WITHIN) for n in range(10)][-1] == 81


def pid_of(_: object) -> int:
    return os.getpid()


def test_workers_are_replaced_when_they_grow() -> None:
    """A worker that holds too much memory after a batch is replaced."""
    with Pool(1, max_memory_per_worker=60_000_000) as pool:
        before = pool.apply(hoard)
        eventually(lambda: pool.apply(os.getpid) != before, within=WITHIN)


hoarded: list[bytes] = []


def hoard() -> int:
    hoarded.append(b"x" * 100_000_000)
    return os.getpid()


def test_initializer() -> None:
    """It is called once in each worker, with closures too."""
    value = 5
    with Pool(2, initializer=lambda x: os.environ.update(GIVEN=str(x + value)), initargs=(2,)) as p:
        assert set(p.map(os.getenv, ["GIVEN"] * 50)) == {"7"}


def test_pools_in_pools(pool: Pool) -> None:
    """A worker may have a pool of its own."""
    assert pool.map(pool_inside, [1, 2]) == [[1, 4], [1, 4]]


def pool_inside(_: int) -> list[int]:
    with Pool(1) as inner:
        return inner.map(square, [1, 2])


def test_pools_in_pools_end_with_the_outer_one(tmp_path: Path) -> None:
    """However busy they are."""
    note = tmp_path / "pid"

    def work() -> None:
        with Pool(1) as inner:
            note.with_suffix(".new").write_text(str(inner.apply(os.getpid)))
            note.with_suffix(".new").rename(note)
            inner.apply(time.sleep, (3600,))

    with Pool(1) as pool:
        pool.submit(work)
        eventually(note.exists, within=WITHIN)
        worker = psutil.Process(int(note.read_text()))
    eventually(lambda: not worker.is_running(), within=WITHIN)


def test_pools_in_pools_share_the_cpus() -> None:
    """A worker has its part of them, and a pool in it has that many workers."""
    with Pool(1) as pool:
        assert pool.apply(cpus_inside) == (cpu_count(), cpu_count())
    with Pool(2 * cpu_count()) as pool:
        assert pool.apply(cpus_inside) == (1, 1)


def cpus_inside() -> tuple[int, int]:
    with Pool() as inner:
        return cpu_count(), int(repr(inner).split()[1])


def test_terminate_is_at_once_with_a_long_queue(pool: Pool) -> None:
    """What was queued is cancelled."""
    futures = [pool.submit(time.sleep, 60) for _ in range(10_000)]
    began = time.monotonic()
    pool.terminate()
    pool.join()
    assert time.monotonic() - began < 1
    assert all(f.cancelled() for f in futures)
    with pytest.raises(ValueError, match="not running"):
        pool.submit(square, 1)


def test_close_and_join_finish_what_is_queued() -> None:
    """And further tasks are refused."""
    pool = Pool(2)
    futures = [pool.submit(square, n) for n in range(1000)]
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    pool.close()
    with pytest.raises(ValueError, match="not running"):
        pool.map(square, [1])
    pool.join()
    assert [f.result(0) for f in futures] == [n * n for n in range(1000)]


def test_shutdown_of_an_executor() -> None:
    """With and without waiting, with and without what is queued."""
    executor = Executor(1)
    first, *rest = [executor.submit(time.sleep, 0.2) for _ in range(5)]
    eventually(first.running, within=WITHIN)
    executor.shutdown(cancel_futures=True)
    assert first.result(0) is None
    assert all(f.cancelled() for f in rest)
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(square, 1)
    executor = Executor(1)
    future = executor.submit(square, 4)
    executor.shutdown(wait=False)
    assert future.result(WITHIN) == 16


def test_a_forgotten_pool_goes_away() -> None:
    """Workers, thread and descriptors: the fixture sees to it."""
    pool = Pool(1)
    gone = weakref.ref(pool)
    assert pool.apply(square, (2,)) == 4
    over = pool._engine.over
    del pool
    gc.collect()
    assert gone() is None
    assert over.wait(WITHIN)
    assert Pool(1).apply_async(square, (3,)).get(WITHIN) == 9
    gc.collect()
    assert Executor(1).submit(square, 3).result(WITHIN) == 9
    gc.collect()


def test_results_are_released(pool: Pool) -> None:
    """The pool holds nothing of a task that is done."""

    class Thing:
        pass

    thing = Thing()
    gone = weakref.ref(thing)
    pool.submit(id, thing).result(WITHIN)
    del thing
    eventually(lambda: gc.collect() is not None and gone() is None, within=WITHIN)


def test_a_copy_of_the_program_has_no_pool(pool: Pool) -> None:
    """After `os.fork` the child is told so, and the parent's pool is as before."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            pool.submit(square, 1)
        except ValueError as error:
            code = 0 if "another process" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert pool.apply(square, (3,)) == 9


def test_a_copy_of_the_program_may_have_its_own_pool() -> None:
    """Though another thread was about to finish something when it was made."""
    may_go, holds = threading.Event(), threading.Event()

    def finish_slowly() -> None:
        with onlookers.LOOKING, loans._COUNTING:
            holds.set()
            may_go.wait()

    thread = threading.Thread(target=finish_slowly)
    thread.start()
    holds.wait()
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)  # ends it, should it be stuck
        code = 1
        try:
            with Pool(1) as own:
                calls = [own.apply(square, (3,)) for _ in range(20)]
                code = 0 if calls == [9] * 20 and own.submit(square, 2).result() == 4 else 2
            template.stop()
        finally:
            os._exit(code)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        may_go.set()
        thread.join()


def run(code: str, *, interrupt: bool = False) -> tuple[int, str, str, float]:
    """Runs a program; gives its exit code, what it said, and how long its end took."""
    program = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert program.stdout is not None
    said = program.stdout.readline()
    began = time.monotonic()
    if interrupt:
        os.killpg(program.pid, signal.SIGINT)
    out, err = program.communicate(timeout=WITHIN)
    return program.returncode, said + out, err, time.monotonic() - began


@pytest.mark.parametrize(
    "use",
    [
        "with Pool(2) as pool: pool.map(work, range(10))",
        "pool = Pool(2); pool.map(work, range(10))",
        "with Executor(2) as e: e.submit(work, 1).result()",
        "e = Executor(2); e.submit(work, 1).result()",
        "with Executor(2) as e: list(e.map(work, range(10)))",
    ],
)
def test_ctrl_c(use: str) -> None:
    """One KeyboardInterrupt in the caller, within a second; one traceback; no worker is left."""
    code = (
        "import os, time\n"
        "from manycore.pool.classic import Pool\n"
        "from manycore.pool.executor import Executor\n"
        "def work(x):\n"
        "    os.write(1, b'working\\n')\n"
        "    time.sleep(20)\n"
        f"{use}\n"
    )
    status, _, err, seconds = run(code, interrupt=True)
    assert err.count("Traceback") == 1
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert status == -signal.SIGINT
    assert seconds < 2


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        ("Pool(2); print('end')", "end"),
        ("p = Pool(2); p.apply_async(time.sleep, (60,)); print('end')", "end"),
        ("e = Executor(2); f = e.submit(print, 'worked', flush=True); print('end')", "worked"),
        ("Executor(2); print('end')", "end"),
    ],
)
def test_a_program_with_an_open_pool_ends(use: str, expected: str) -> None:
    """A pool's tasks are given up, an executor's are finished; neither holds the program up."""
    code = (
        "import time\n"
        "from manycore.pool.classic import Pool\n"
        "from manycore.pool.executor import Executor\n"
        f"{use}\n"
    )
    exitcode, out, err, seconds = run(code)
    assert (exitcode, err) == (0, "")
    assert expected in out
    assert seconds < 5


def test_a_pool_works_under_live_threads_and_from_them(pool: Pool) -> None:
    """Several threads submit at once."""
    results: list[list[int]] = []

    def use() -> None:
        futures = [pool.submit(square, n) for n in range(500)]
        results.append([f.result(WITHIN) for f in futures])

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[n * n for n in range(500)]] * 4


def test_sockets_can_be_sent(pool: Pool) -> None:
    """As an argument, as `multiprocessing` can."""
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert pool.apply(talk, (theirs,)) == 2
        assert ours.recv(10) == b"hi"


def talk(sock: Any) -> int:
    with sock:
        return int(sock.send(b"hi"))


def test_the_worker_imports_little(pool: Pool) -> None:
    """Neither the command nor what only the parent needs."""
    names = pool.apply(loaded)
    assert not {
        n for n in names if n.startswith(("manycore.cli", "manycore.server", "rich", "click"))
    }


def loaded() -> list[str]:
    return list(sys.modules)
