"""Which workers hang, by what is seen of them; and what the kernel says of a thread."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventually import eventually
from manycore.base.blocked import For, wait_of
from manycore.server.hangs import HangRules, Seen, is_stuck
from manycore.server.stillness import is_for

WORKER = 7


def still(rules: HangRules, until: float, seen: Seen = Seen(5, 3, {1: 1.0})) -> list[float]:  # noqa: B008
    """Lets a worker stand still; gives when it was asked."""
    asked, now = [], 0.0
    while now <= until:
        if rules.look(WORKER, seen, now):
            asked.append(now)
        now += rules.look_every
    return asked


def test_who_stands_still_is_asked_twice_in_time() -> None:
    """And again for as long as it does."""
    assert still(HangRules(60.0), 61.0) == [30.0, 60.0]
    assert len(still(HangRules(60.0), 200.0)) == 6


@pytest.mark.parametrize(
    ("where", "stuck", "hangs"),
    [(None, True, True), (None, False, False), ("in sleep", False, True)],
)
def test_the_second_answer_counts(where: str | None, stuck: bool, hangs: bool) -> None:
    """One that waits for its clients is well; one that says nothing twice is not."""
    rules, seen = HangRules(60.0), Seen(5, 3, {1: 1.0})
    rules.look(WORKER, seen, 0.0)
    rules.look(WORKER, seen, 30.0)
    assert not rules.hangs(WORKER, where=where, stuck=stuck, seen=seen, now=31.0)
    assert rules.hangs(WORKER, where=where, stuck=stuck, seen=seen, now=61.0) == hangs


def test_one_missing_answer_is_no_proof() -> None:
    """A machine that is very busy may keep a worker from answering in time."""
    rules, seen = HangRules(60.0), Seen(5, 3, {1: 1.0})
    rules.look(WORKER, seen, 0.0)
    for before in (None, "elsewhere"):
        assert not rules.hangs(WORKER, where=before, stuck=False, seen=seen, now=30.0)
        assert not rules.hangs(WORKER, where="here", stuck=False, seen=seen, now=61.0)


def test_an_answer_takes_some_cpu() -> None:
    """Which is no progress, however often a worker is asked."""
    rules, cpu = HangRules(4.0), 0.0
    for second in range(8):
        if rules.look(WORKER, Seen(5, 3, {1: cpu}), float(second)):
            cpu += 0.09
        seen, now = Seen(5, 3, {1: cpu}), second + 0.5
        hangs = rules.hangs(WORKER, where="here", stuck=False, seen=seen, now=now)
        assert hangs == (second >= 4)


@given(
    st.lists(
        st.tuples(st.sampled_from(["accepts", "finishes", "computes"]), st.floats(1.0, 14.9)),
        min_size=5,
        max_size=40,
    )
)
def test_who_moves_is_never_asked(steps: list[tuple[str, float]]) -> None:
    """Whatever it is that moves: one that computes may do that for ever."""
    rules, now = HangRules(60.0), 0.0
    accepted, finished, cpu = 5, 0, 0.0
    for what, seconds in steps:
        now += seconds
        accepted += what == "accepts"
        finished += what == "finishes"
        cpu += seconds / 5 + 0.13 if what == "computes" else 0.0
        seen = Seen(accepted, finished, {1: 0.0, 2: cpu})
        assert not rules.look(WORKER, seen, now)
        assert not rules.hangs(WORKER, where="here", stuck=True, seen=seen, now=now + 1)
        rules.look(WORKER, seen, now)


def test_one_that_moved_while_it_was_asked_is_well() -> None:
    """The answer is of the past then."""
    rules = HangRules(60.0)
    still(rules, 61.0)
    assert not rules.hangs(WORKER, where=None, stuck=True, seen=Seen(6, 3, {1: 1.0}), now=62.0)


@pytest.mark.parametrize(
    ("threads", "still", "open_", "queued", "stuck"),
    [
        (False, 1, 5, 0, True),
        (False, 0, 5, 9, False),
        (True, 10, 10, 1, True),
        (True, 10, 10, 0, False),  # nobody waits for a thread
        (True, 9, 9, 1, False),  # there is a thread for who waits
        (True, 5, 10, 1, False),  # half of them wait for their clients
    ],
)
def test_stuck(threads: bool, still: int, open_: int, queued: int, stuck: bool) -> None:
    """Of threads many must stand still, and somebody wait for them; of loops there is one."""
    found = is_stuck(threads=threads, still=still, open_=open_, limit=10, queued=queued)
    assert found == stuck


def test_what_a_thread_waits_for() -> None:
    """Its own connection, with a timeout or without, several descriptors, or something else."""
    one, other = socket.socketpair()
    timed, far = socket.socketpair()
    timed.settimeout(30)
    lock = threading.Lock()
    lock.acquire()
    epoll = select.epoll()
    epoll.register(one, select.EPOLLERR)
    ways: dict[str, tuple[Callable[[], object], For, int]] = {
        "recv": (lambda: one.recv(1), For.DESCRIPTOR, one.fileno()),
        "recv with a timeout": (lambda: timed.recv(1), For.DESCRIPTOR, timed.fileno()),
        "a lock": (lock.acquire, For.OTHER, -1),
        "a loop": (lambda: epoll.poll(30), For.ANY, -1),
    }
    threads = {name: threading.Thread(target=way[0], daemon=True) for name, way in ways.items()}
    for name, thread in threads.items():
        thread.start()
        native = thread.native_id
        assert native is not None
        _, what, fd = ways[name]

        def waits(native: int = native, what: For = what, fd: int = fd) -> bool:
            found = wait_of(native)
            return found is not None and (found.what, found.fd) == (what, fd)

        eventually(waits, within=10)
        wait = wait_of(native)
        assert wait is not None
        assert wait == wait_of(native), "it is the same wait"
        assert is_for(wait, one.fileno() if name == "recv" else timed.fileno()) != (
            name == "a lock"
        )
    for end in (other, far):
        end.sendall(b"x")
    lock.release()
    epoll.modify(one, select.EPOLLOUT)
    for thread in threads.values():
        thread.join(10)
        assert not thread.is_alive()
    for thing in (one, other, timed, far, epoll):
        thing.close()


def test_a_thread_that_is_not_there_waits_for_nothing() -> None:
    """Nobody is judged by it."""
    assert wait_of(1 << 22) is None
