"""Big data: it travels in memory that is handed over, and nothing of it stays."""

from __future__ import annotations

import errno
import functools
import gc
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from eventually import eventually
from manycore.errors import SendError
from manycore.pool.classic import Pool
from manycore.pool.lost import TaskLost

numpy = pytest.importorskip("numpy")

WITHIN = 10.0  # seconds
BIG = 1_000_000  # bytes


@contextmanager
def limit(kind: int, value: int) -> Iterator[None]:
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def itself(value: Any) -> Any:
    return value


def facts(array: Any) -> tuple[float, bool, bool]:
    return float(array.sum()), bool(array.flags.writeable), bool(array.flags.owndata)


def describe(value: Any) -> tuple[str, bool]:
    return type(value).__name__, memoryview(value).readonly


def element(array: Any, index: int) -> float:
    return float(array[index])


def memory_of(array: Any, _: int = 0) -> tuple[int, int]:
    return os.getpid(), int(array.ctypes.data)


def test_arrays_arrive_without_a_copy_and_read_only(pool: Pool) -> None:
    """Both ways; small ones are copies, as ever."""
    array = numpy.arange(BIG, dtype="f8")
    assert pool.apply(facts, (array,)) == (array.sum(), False, False)
    assert pool.apply(facts, (array[:10],)) == (45.0, True, False)
    back = pool.apply(itself, (array,))
    assert (back == array).all()
    assert not back.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        back[0] = 1
    back = pool.apply(itself, (array[:10],))
    back[0] = 1


@pytest.mark.parametrize("make", [bytes, bytearray])
def test_bytes_arrive_as_what_they_are(pool: Pool, make: Any) -> None:
    """And a PickleBuffer of them as a view that is not copied."""
    value = make(os.urandom(BIG))
    back = pool.apply(itself, (value,))
    assert type(back) is make
    assert back == value
    assert pool.map(itself, [value] * 20) == [value] * 20
    assert pool.submit(describe, pickle.PickleBuffer(value)).result(WITHIN) == ("memoryview", True)


def test_arrays_of_every_layout(pool: Pool) -> None:
    """In either order, in pieces, inside other things, and of classes of `__main__`'s kind."""
    array = numpy.arange(BIG).reshape(1000, 1000)
    for value in (array, array.T, array[::2, ::2], array[::-1]):
        assert (pool.apply(itself, (value,)) == value).all()
    thing = {"a": [array, array], "b": (b"x", array.T)}
    back = pool.submit(itself, thing).result(WITHIN)
    assert (back["b"][1] == array.T).all()
    assert (back["a"][0] == back["a"][1]).all()

    class Local:
        def __init__(self, held: Any) -> None:
            self.held = held

    assert (pool.apply(lambda: Local(numpy.ones(BIG))).held == 1).all()
    assert pool.apply(lambda: array.sum()) == array.sum()  # noqa: PLW0108  # it holds the array


def test_results_that_are_held_keep_their_values_and_cost_no_descriptors(pool: Pool) -> None:
    """Memory is used again only when nobody looks at it."""
    before = len(os.listdir("/proc/self/fd"))
    held = pool.map(full, range(600))
    assert len(os.listdir("/proc/self/fd")) < before + 30
    del held[::3]
    more = pool.map(full, range(600, 900))
    assert [int(a[0]) for a in held] == [n for n in range(600) if n % 3]
    assert all((a == a[0]).all() for a in [*held, *more])


def full(value: int) -> Any:
    return numpy.full(40_000, value)


def test_arguments_that_a_worker_keeps_keep_their_values() -> None:
    """The same on the other side, across forks too."""
    with Pool(1) as pool:
        for n in range(20):
            pool.apply(hold, (full(n),))
        assert pool.apply(held_values) == list(range(20))
        assert pool.apply(fork_and_hold, (full(77),)) is None
        for n in range(20):
            pool.apply(itself, (full(n),))
        assert pool.apply(ask_child) == 77


kept: list[Any] = []
child: list[int] = []


def hold(array: Any) -> None:
    kept.append(array)


def held_values() -> list[int]:
    return [int(a[0]) for a in kept if (a == a[0]).all()]


def fork_and_hold(array: Any) -> None:
    """A forked copy looks at the array when it is asked to, long after this call has ended."""
    ask, asked = os.pipe(), os.pipe()
    if os.fork() == 0:
        os.read(ask[0], 1)
        os.write(asked[1], bytes([int(array[-1])]))
        os._exit(0)
    child[:] = [ask[1], asked[0]]


def ask_child() -> int:
    os.write(child[0], b"?")
    return os.read(child[1], 1)[0]


def test_a_shared_object_is_sent_to_each_worker_once(pool: Pool) -> None:
    """All tasks of a worker see the same memory; it is forgotten with its handle."""
    array = numpy.arange(BIG, dtype="f8")
    shared = pool.share(array)
    places = pool.map(memory_of, [shared] * 100)
    assert len(set(places)) == len({pid for pid, _ in places})
    assert pool.starmap(element, [(shared, n) for n in range(50)]) == list(range(50))
    assert pool.submit(element, array=shared, index=7).result(WITHIN) == 7
    assert shared.value is array
    del shared
    gc.collect()
    assert pool.map(element_of_nothing, range(10)) == [0.0] * 10
    with pytest.raises(TypeError, match="tasks of its pool"):
        pickle.dumps(pool.share(1))
    assert pool.map(itself, [pool.share({"any": "thing"})] * 3) == [{"any": "thing"}] * 3


def element_of_nothing(_: int) -> float:
    return 0.0


def test_a_shared_object_outlives_workers() -> None:
    """A new worker is sent it, too."""
    with Pool(1, maxtasksperchild=2) as pool:
        shared = pool.share(numpy.arange(BIG))
        assert pool.starmap(element, [(shared, n) for n in range(9)]) == list(range(9))


def test_the_same_object_in_a_map_is_sent_once(pool: Pool) -> None:
    """In its function, and among its items."""
    array = numpy.arange(BIG, dtype="f8")
    assert pool.map(functools.partial(element, array), range(200)) == list(range(200))
    places = pool.starmap(memory_of, [(array, n) for n in range(200)])
    # the first time in each worker it is not known yet that it comes again
    assert len(set(places[20:])) <= len({pid for pid, _ in places}) + 2
    assert pool.starmap(element, [(array, n) for n in range(200)]) == list(range(200))


def test_an_array_that_is_changed_between_items_of_an_imap(pool: Pool) -> None:
    """Each item is what it was when it was read, as far as it was not read ahead."""
    array = numpy.zeros(BIG)

    def items() -> Iterator[Any]:
        for n in range(20):
            array[:] = n
            yield array.copy()

    assert [a[0] for a in pool.imap(itself, items())] == list(range(20))


def test_batches_are_small_in_bytes_too(pool: Pool) -> None:
    """Tasks whose arguments or results are big travel few at a time, however short they are."""
    pool.map(len, [b""] * 5000)
    assert pool.map(len, [bytes(500_000)] * 60) == [500_000] * 60
    assert [len(x) for x in pool.imap(bytes, [500_000] * 60)] == [500_000] * 60


def test_no_room_is_an_error_of_the_task_alone(pool: Pool) -> None:
    """The files may not be that big, as with a full memory; others are done."""
    array = numpy.ones(BIG)
    with limit(resource.RLIMIT_FSIZE, 2_000_000):
        small, big = pool.submit(facts, array[:100]), pool.submit(facts, array)
        with pytest.raises(OSError, match="no room") as caught:
            big.result(WITHIN)
        assert caught.value.errno == errno.EFBIG
        assert small.result(WITHIN)[0] == 100
    assert pool.apply(facts, (array,))[0] == BIG


def test_no_room_for_a_result(pool: Pool) -> None:
    """The same in the worker."""
    with pytest.raises(OSError, match="no room for what the task returned"):
        pool.apply(too_big)
    assert pool.apply(abs, (-1,)) == 1


def too_big() -> Any:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
    return numpy.ones(BIG)


def test_no_descriptors_left_here(pool: Pool) -> None:
    """What is big fails and says why; what is small is done; later all is well again."""
    array = numpy.ones(BIG)
    pool.map(abs, range(10))
    used = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    fillers = []
    with limit(resource.RLIMIT_NOFILE, used + 2):
        try:
            while True:
                fillers.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        with pytest.raises(OSError, match="no room") as caught:
            pool.submit(facts, array).result(WITHIN)
        assert caught.value.errno == errno.EMFILE
        with pytest.raises(OSError, match="no room"):
            pool.submit(numpy.ones, BIG).result(WITHIN)
        assert pool.submit(abs, -3).result(WITHIN) == 3
        for fd in fillers:
            os.close(fd)
    assert pool.apply(facts, (array,))[0] == BIG


def test_no_descriptors_left_there() -> None:
    """A task that leaks them makes big tasks of its worker fail, with the reason."""
    array = numpy.ones(BIG)
    with Pool(1) as pool:
        pool.apply(leak)
        for call in (lambda: pool.apply(facts, (array,)), lambda: pool.map(facts, [array, array])):
            with pytest.raises(OSError, match="no room"):
                call()
        assert pool.apply(abs, (-3,)) == 3


def leak() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            os.dup(0)
    except OSError:
        pass


def test_a_worker_that_dies_while_its_task_arrives(pool: Pool) -> None:
    """What it had not begun runs elsewhere; what is big is sent anew."""
    array = numpy.arange(BIG, dtype="f8")
    pids = set(pool.map(pid_slowly, range(20)))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    futures = [pool.submit(facts, array + n) for n in range(10)]
    shared = pool.share(array)
    futures += [pool.submit(facts, shared) for _ in range(3)]
    eventually(futures[1].running, within=WITHIN)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    totals = [f.result(WITHIN)[0] for f in futures]
    assert totals == [float((array + n).sum()) for n in range(10)] + [array.sum()] * 3


def pid_slowly(_: int) -> int:
    time.sleep(0.01)
    return os.getpid()


def test_a_worker_that_dies_while_it_writes_its_result(pool: Pool) -> None:
    """At whatever moment: the task is done or lost, never half."""
    results = {True: 0, False: 0}
    for n in range(10):
        pid = pool.apply(os.getpid)
        future = pool.submit(make_slowly, n)
        others = [pool.submit(full, k) for k in range(3)]
        killer = threading.Timer(0.003 * n, kill, (pid,))
        killer.start()
        for k, other in enumerate(others):
            error = other.exception(WITHIN)
            assert isinstance(error, TaskLost) if error else (other.result() == k).all()
        error = future.exception(WITHIN)
        results[error is None] += 1
        assert isinstance(error, TaskLost) if error else (future.result() == n).all()
        killer.join()
        assert pool.apply(abs, (-1,)) == 1
    assert results[True]


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def make_slowly(value: int) -> Any:
    return numpy.full(3 * BIG, value)


def test_what_cannot_be_shared_is_told(pool: Pool) -> None:
    """A lock is named."""
    with pytest.raises(SendError, match="lock"):
        pool.share({"lock": threading.Lock()})


def test_nothing_is_left_when_everybody_is_killed() -> None:
    """No name was given to anything, so nothing is there to be found."""
    code = (
        "import numpy, os, time, manycore\n"
        "pool = manycore.Pool(2)\n"
        "shared = pool.share(numpy.ones(1_000_000))\n"
        "held = pool.map(numpy.ones, [1_000_000] * 5)\n"
        "print(os.getpid(), flush=True)\n"
        "pool.submit(time.sleep, 60)\n"
        "time.sleep(60)\n"
    )
    before = set(os.listdir("/dev/shm"))
    program = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    )
    assert program.stdout is not None
    program.stdout.readline()
    os.killpg(program.pid, signal.SIGKILL)
    program.wait()
    program.stdout.close()
    after = set(os.listdir("/dev/shm")) - before  # another test's, if any, which will go
    eventually(lambda: not after & set(os.listdir("/dev/shm")), within=20, what=lambda: str(after))
