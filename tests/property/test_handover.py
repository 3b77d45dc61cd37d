"""Connections that are handed on: whatever is in an inbox, each is taken once and none is lost."""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from manycore.server import handover
from manycore.server.handover import MESSAGE_BYTES, Inboxes, decode, encode
from manycore.server.notices import MOST
from manycore.server.visit import Visit

ports = st.integers(0, 65_535)
#: what `accept` gives: IPv4, IPv6, a Unix socket's path, an abstract name
addresses = st.one_of(
    st.tuples(st.ip_addresses(v=4).map(str), ports),
    st.tuples(st.ip_addresses(v=6).map(str), ports, st.integers(0, 2**20 - 1), ports),
    st.binary(max_size=108).map(os.fsdecode),
    st.binary(max_size=107).map(lambda name: b"\0" + name),
)
torn = st.tuples(addresses, st.integers(0, MESSAGE_BYTES - 1)).map(
    lambda made: encode(made[0])[: made[1]]
)
bent = st.tuples(addresses, st.integers(0, 20), st.binary(min_size=1, max_size=20)).map(
    lambda made: (encode(made[0])[: made[1]] + made[2]).ljust(MESSAGE_BYTES, b"\0")
)
nonsense = st.one_of(torn, bent, st.binary(min_size=1, max_size=400))


@contextmanager
def inboxes(places: int) -> Iterator[Inboxes]:
    made = Inboxes()
    made.provide(places)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def unheard() -> Iterator[None]:
    """What is dropped is logged; thousands of lines of that help nobody."""
    handover.log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        handover.log.setLevel(logging.NOTSET)


def connection() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def belong_together(one: socket.socket, other: socket.socket) -> bool:
    one.sendall(b"x")
    other.setblocking(False)
    try:
        return other.recv(2) == b"x"
    except BlockingIOError:
        return False


@given(addresses)
def test_an_address_arrives_as_it_was(address: Any) -> None:
    """Every address that `accept` gives, of every family, of the same type."""
    message = encode(address)
    assert len(message) == MESSAGE_BYTES
    assert decode(message) == address
    assert type(decode(message)) is type(address)


@given(nonsense)
def test_nonsense_is_refused(message: bytes) -> None:
    """Whatever it is: it is an address, or a ValueError."""
    try:
        address = decode(message)
    except ValueError:
        return
    assert isinstance(address, tuple | str | bytes)


def test_an_address_that_is_too_long() -> None:
    """It is not cut short: the connection stays where it is."""
    with pytest.raises(ValueError, match="does not fit"):
        encode("x" * MESSAGE_BYTES)


#: a good message, or what nothing of ours sends: with how many descriptors
sent = st.one_of(
    addresses.map(lambda address: (encode(address), 1, True)),
    addresses.map(lambda address: (encode(address), 0, False)),
    st.tuples(torn, st.integers(0, 3), st.just(False)),
    st.tuples(st.binary(min_size=1, max_size=400), st.integers(0, 3), st.just(False)),
)


@given(st.lists(sent, max_size=12))
def test_what_is_no_connection_is_dropped(messages: list[tuple[bytes, int, bool]]) -> None:
    """Torn messages, garbage and stripped descriptors: what is between them is all taken."""
    with inboxes(1) as made, unheard():
        before = descriptors()
        clients: deque[socket.socket] = deque()
        for message, count, good in messages:
            client, server = connection()
            fds = [server.fileno()] * count
            socket.send_fds(made._pairs[1][0], [message], fds)
            server.close()
            clients.append(client) if good else client.close()
        while (visit := made.take(1)) is not None:
            with visit.conn, clients.popleft() as client:
                assert belong_together(client, visit.conn)
        assert not clients
        assert descriptors() == before


def test_what_finds_no_descriptor_stays_in_the_inbox() -> None:
    """The kernel throws descriptors away that find no number: so it is not asked for them."""
    resource = pytest.importorskip("resource")
    client, server = connection()
    with inboxes(1) as made, client, server:
        assert made.put(1, Visit(server, ""))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        fillers = [os.dup(0)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[0] + 1, hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                while True:
                    fillers.append(os.dup(0))
            with pytest.raises(OSError, match="Too many open files"):
                made.take(1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in fillers:
                os.close(fd)
        assert made.queued(1) == 1
        visit = made.take(1)
        assert visit is not None
        with visit.conn:
            assert belong_together(client, visit.conn)


def test_what_is_taken_is_for_no_program() -> None:
    """A program that a handler starts has none of the connections."""
    client, server = connection()
    with inboxes(1) as made, client, server:
        assert made.put(1, Visit(server, ""))
        visit = made.take(1)
        assert visit is not None
        with visit.conn:
            assert not visit.conn.get_inheritable()


def test_a_full_inbox_takes_no_more() -> None:
    """Handing on never waits: whoever cannot, keeps the connection."""
    client, server = connection()
    with inboxes(1) as made, client, server:
        count = 0
        while made.put(1, Visit(server, ("127.0.0.1", 1))):
            count += 1
        assert made.queued(1) == count > 100
        while (visit := made.take(1)) is not None:
            visit.conn.close()
            count -= 1
        assert count == 0


def fork_of(made: Inboxes) -> Inboxes:
    """What a process has that was forked now."""
    known = Inboxes()
    known._notice.close()
    known._pairs = {place: (one.dup(), other.dup()) for place, (one, other) in made._pairs.items()}
    known._notice._reader = made._notice._reader.dup()
    return known


def test_an_inbox_that_is_added_later() -> None:
    """Whoever was forked before finds it when it looks for it, and so does everybody else."""
    client, server = connection()
    with inboxes(1) as made, client, server:
        worker, successor = fork_of(made), fork_of(made)
        made.provide(2)
        made.provide(3)
        for known in (worker, successor, worker):  # who looks takes nothing from the others
            assert known.knows(3)
            assert known.put(3, Visit(server, "x"))
            visit = made.take(3)
            assert visit is not None
            with visit.conn:
                assert visit.address == "x"
                assert belong_together(client, visit.conn)
        before = descriptors()
        for place in (1, 2, 3):
            assert successor.knows(place)
        for place in (0, 4, 500):
            assert not successor.knows(place)
        assert descriptors() == before
        worker.close()
        successor.close()


def test_as_many_as_a_notice_has_room_for() -> None:
    """Each of them is found, also by who knows half of them; of more, those that came last."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        with inboxes(3) as made:
            known = fork_of(made)
            made.provide(3 + MOST // 2)
            assert all(known.knows(place) for place in range(1, 4 + MOST // 2))
            made.provide(3 + MOST)
            assert all(known.knows(place) for place in range(1, 4 + MOST))
            known.close()
            known = fork_of(made)
            made.provide(3 + 3 * MOST)
            assert known.knows(3 + 3 * MOST)
            assert not known.knows(3 + MOST + 1)
            known.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_who_has_no_descriptor_left_finds_it_later() -> None:
    """Half of a notice is none."""
    resource = pytest.importorskip("resource")
    with inboxes(1) as made:
        known = fork_of(made)
        made.provide(5)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 3, hard))
        try:
            assert not known.knows(2)
            assert os.dup(0) == free
            os.close(free)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert known.knows(2)
        known.close()


class Journeys(RuleBasedStateMachine):
    """Connections that are put, taken, left behind by the dead and forwarded, in any order."""

    PLACES = 3

    def __init__(self) -> None:
        super().__init__()
        self.inboxes = Inboxes()
        self.inboxes.provide(self.PLACES)
        self.at: dict[int, deque[tuple[socket.socket, Any]]] = {
            place: deque() for place in range(1, self.PLACES + 1)
        }

    @rule(place=st.integers(1, PLACES), address=addresses)
    def put(self, place: int, address: Any) -> None:
        client, server = connection()
        with server:  # its sender lets go of it at once, or dies
            assert self.inboxes.put(place, Visit(server, address))
        self.at[place].append((client, address))

    @rule(place=st.integers(1, PLACES))
    def take(self, place: int) -> None:
        visit = self.inboxes.take(place)
        if visit is None:
            assert not self.at[place]
            return
        client, address = self.at[place].popleft()
        with client, visit.conn:
            assert visit.address == address
            assert belong_together(client, visit.conn)

    @rule(loads=st.dictionaries(st.integers(1, PLACES + 2), st.integers(0, 9)))
    def forward(self, loads: dict[int, int]) -> None:
        heirs = {place: load for place, load in loads.items() if place in self.at}
        orphans = [place for place in self.at if place not in heirs and self.at[place]]
        waiting = sum(len(self.at[place]) for place in orphans)
        assert self.inboxes.forward(loads) == (waiting if heirs else 0)
        if not heirs:
            return
        for place in orphans:
            while self.at[place]:
                heir = min(heirs, key=lambda one: (heirs[one], one))
                heirs[heir] += 1
                self.at[heir].append(self.at[place].popleft())

    @invariant()
    def each_is_in_one_inbox(self) -> None:
        for place, queue in self.at.items():
            assert self.inboxes.queued(place) == len(queue)

    def teardown(self) -> None:
        self.inboxes.close()
        for queue in self.at.values():
            for client, _ in queue:
                client.close()


TestJourneys = Journeys.TestCase
