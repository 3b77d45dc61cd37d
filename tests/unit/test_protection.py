"""The protections' decisions, one by one."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manycore.base.traffic import Traffic, traffic, unread
from manycore.server.protection.addresses import AddressCounts, counted_as, create_counts, forget
from manycore.server.protection.farewell import MOST, Farewells
from manycore.server.protection.recycling import Lifetime
from manycore.server.protection.shares import share
from manycore.server.protection.shortage import COMPLAINT_EVERY, LONGEST_PAUSE, Shortage
from manycore.server.protection.silence import Disconnect, LookAgain, Patience
from manycore.server.protection.wheel import SLOT, Wheel
from manycore.server.statistics import create_board, use_row

QUIET = Traffic(5.0, started=False)


@given(st.integers(0, 10_000), st.integers(1, 500))
def test_shares_are_fair_and_make_up_the_whole(limit: int, workers: int) -> None:
    """No worker may have two more than another one."""
    shares = [share(limit, workers, place) for place in range(1, workers + 1)]
    assert sum(shares) == limit
    assert max(shares) - min(shares) <= 1


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.floats(0, 100)), max_size=40, unique_by=lambda p: p[0]
    ),
    st.sets(st.integers(0, 20)),
    st.lists(st.floats(0, 110), max_size=10),
)
def test_everything_falls_due_once_and_in_time(
    things: list[tuple[int, float]], removed: set[int], times: list[float]
) -> None:
    """Not before its time, and at most a slot after it; what was removed never does."""
    wheel = Wheel[int]()
    for thing, when in things:
        wheel.add(thing, when)
    for thing in removed:
        wheel.remove(thing)
    left = {thing: when for thing, when in things if thing not in removed}
    for now in sorted([*times, 200.0]):
        for thing in wheel.due(now):
            assert left.pop(thing) <= now + 1e-9
        assert all(when + SLOT > now - 1e-9 for when in left.values())
        deadline = wheel.deadline()
        assert (deadline is None) == (not left)
        assert deadline is None or deadline > now
    assert len(wheel) == 0


@pytest.mark.parametrize(
    ("patience", "seen", "unread_bytes", "age", "verdict"),
    [
        (Patience(10, 0), QUIET, 0, 5.0, LookAgain(5.0)),
        (Patience(10, 0), QUIET, 0, 10.0, Disconnect("it never said anything")),
        (Patience(10, 0), Traffic(99.0, started=True), 0, 100.0, None),
        (Patience(10, 60), Traffic(20.0, started=True), 0, 30.0, LookAgain(40.0)),
        (Patience(0, 60), QUIET, 0, 5.0, LookAgain(55.0)),
        (
            Patience(0, 60),
            Traffic(60.0, started=True),
            0,
            99.0,
            Disconnect("it has been silent for too long"),
        ),
        (Patience(0, 60), Traffic(60.0, started=True), 7, 99.0, LookAgain(60)),
        (Patience(10, 60), None, 0, 99.0, None),
    ],
)
def test_silence(
    patience: Patience, seen: Traffic | None, unread_bytes: int, age: float, verdict: object
) -> None:
    """A client that was heard, or whose bytes wait for the handler, is not the silent one."""
    assert patience.judge(seen, unread_bytes, age) == verdict


def test_the_kernel_tells_of_traffic() -> None:
    """Bytes of either side are a start; none of them is, before."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as conn,
    ):
        seen = traffic(conn)
        assert seen is not None
        assert not seen.started
        client.sendall(b"hello")
        conn.recv(1)
        seen = traffic(conn)
        assert seen is not None
        assert seen.started
        assert unread(conn) == 4
    assert traffic(conn) is None
    assert unread(conn) == 0


def test_nothing_is_known_of_a_unix_socket() -> None:
    """So nobody is disconnected for it."""
    one, other = socket.socketpair()
    with one, other:
        assert traffic(one) is None


class TestAddressCounts:
    def test_counts_are_over_all_workers_and_end_with_them(self) -> None:
        """What one worker has counts for the other; what a dead one had counts no more."""
        with create_board() as board, create_counts() as counts:
            use_row(board, 2)
            one, two = (AddressCounts(counts, board, index, 3) for index in (1, 2))
            client = ("192.0.2.1", 5)
            one.enter(client)
            one.enter(client)
            two.enter(client)
            assert one.is_full(client)
            assert two.is_full(client)
            assert not one.is_full(("192.0.2.2", 5))
            two.leave(client)
            assert not one.is_full(client)
            two.enter(client)
            forget(counts, 1)
            assert not two.is_full(client)
            del one, two

    def test_a_unix_client_has_no_address(self) -> None:
        """It is never refused for it."""
        assert counted_as("/run/client.sock") is None

    @given(st.ip_addresses(v=6), st.ip_addresses(v=6))
    def test_a_network_of_ipv6_is_one_client(self, one: object, other: object) -> None:
        """Whoever has one of its addresses has them all."""
        same = int(one) >> 64 == int(other) >> 64  # type: ignore[call-overload]
        keys = [counted_as((str(address), 1, 0, 0)) for address in (one, other)]
        if all(isinstance(key, int) for key in keys):
            assert (keys[0] == keys[1]) == same


def test_a_worker_draws_its_own_lifetime() -> None:
    """None ends before its connections are served, nor lives longer than it may."""
    for luck in (0.0, 0.5, 1.0):
        drawn = Lifetime.draw(100, 50, 60.0, 0, luck)
        assert 100 <= drawn.requests <= 150
        assert 54.0 <= drawn.age <= 60.0
    assert not Lifetime(0, 0.0, 0).reason_to_end(10**9, 10**9, 1 << 40)
    assert "5 MiB" in Lifetime(0, 0.0, 5 << 20).reason_to_end(1, 1.0, 5 << 20)


def test_a_shortage_is_met_with_longer_and_longer_pauses(caplog: pytest.LogCaptureFixture) -> None:
    """It is told once in a while, and begins anew once it was over."""
    shortage = Shortage()
    pauses = [shortage.begin("too many open files", 100.0) - 100.0 for _ in range(10)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE
    assert len(caplog.records) == 1
    shortage.begin("too many open files", 100.0 + COMPLAINT_EVERY)
    assert len(caplog.records) == 2
    shortage.is_over()
    assert shortage.begin("too many open files", 300.0) - 300.0 == pytest.approx(pauses[0])
    with shortage.lend() as lent:
        assert lent
    shortage.close()


def test_refused_clients_are_few_and_leave_in_time() -> None:
    """The oldest goes when there are too many, each after a moment."""
    farewells = Farewells(b"busy")
    pairs = [socket.socketpair() for _ in range(MOST + 1)]
    for conn, client in pairs:
        farewells.refuse(conn, 10.0)
        assert client.recv(100) == b"busy"
    assert pairs[0][0].fileno() < 0
    assert pairs[1][0].fileno() >= 0
    deadline = farewells.deadline()
    assert deadline is not None
    farewells.close_due(deadline)
    assert all(conn.fileno() < 0 for conn, _ in pairs)
    assert farewells.deadline() is None
    for _, client in pairs:
        client.close()
