"""Connections that stay open are spread evenly, and none is lost on its way to a sibling."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from command import TARGETS
from eventually import eventually
from manycore import Server

WORKERS, CLIENTS = 4, 100

#: in every mode: what is served, and what a client says to be answered
WAYS: dict[str, tuple[str, dict[str, Any], bytes]] = {
    "threads": ("echo.py:handle", {"mode": "threads"}, b"x"),
    "greenlets": ("echo.py:handle", {"mode": "greenlets"}, b"x"),
    "streams": ("modes.py:echo", {}, b"x"),
    "protocol": ("modes.py:Echo", {}, b"x"),
    "asgi": ("modes.py:app", {"asgi": True}, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "wsgi": ("modes.py:wsgi", {"wsgi": True}, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@contextmanager
def served(way: str, workers: int = WORKERS, **settings: Any) -> Iterator[Server]:
    target, mode, _ = WAYS[way]
    with Server(
        f"{TARGETS}/{target}", workers=workers, log_level="critical", **mode, **settings
    ) as server:
        yield server


@contextmanager
def clients(server: Server, count: int) -> Iterator[list[socket.socket]]:
    """Connects them all at once."""
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for client in found:
            client.setblocking(False)
            client.connect_ex(server.addresses[0])
        for client in found:
            client.settimeout(10)
        yield found


def answered(client: socket.socket, way: str) -> bool:
    client.sendall(WAYS[way][2])
    return bool(client.recv(1000))


def shares(server: Server) -> list[int]:
    return [worker.open for worker in server.statistics().workers]


def test_a_burst_is_spread(way: str) -> None:
    """No worker has many more than another, whoever was awake, and all are answered."""
    with served(way) as server, clients(server, CLIENTS) as connected:
        eventually(lambda: server.statistics().open == CLIENTS, within=10)
        found = shares(server)
        assert max(found) <= 1.3 * CLIENTS / WORKERS, found  # a few may be on their way at once
        assert all(answered(client, way) for client in connected)


def test_a_worker_that_stands_still_keeps_nobody_waiting_for_long(way: str) -> None:
    """What it was handed and has not taken is served by its siblings."""
    with served(way) as server:
        victim = server.statistics().workers[0].pid
        os.kill(victim, signal.SIGSTOP)
        try:
            with clients(server, 40) as connected:
                assert all(answered(client, way) for client in connected)
        finally:
            os.kill(victim, signal.SIGCONT)


def test_a_worker_that_dies_takes_nothing_with_it_that_it_had_not_taken() -> None:
    """Connections that were handed to it are handed to others."""
    with served("threads") as server, ExitStack() as stack:
        for _ in range(5):
            victim = server.statistics().workers[0].pid
            os.kill(victim, signal.SIGSTOP)
            connected = stack.enter_context(clients(server, 40))
            os.kill(victim, signal.SIGKILL)
            assert all(answered(client, "threads") for client in connected)
            eventually(lambda: len(server.statistics().workers) == WORKERS, within=10)


def test_a_worker_that_came_later_gets_its_share() -> None:
    """A new worker is handed connections by those that were there before it."""
    with served("threads", workers=2) as server, clients(server, 40):
        eventually(lambda: server.statistics().open == 40, within=10)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGTTIN)
        eventually(lambda: len(server.statistics().workers) == 3, within=10)
        eventually(lambda: server.statistics().workers[2].state == "ready", within=10)
        with clients(server, 50):
            eventually(lambda: server.statistics().open == 90, within=10)
            assert max(shares(server)) <= 1.3 * 30
