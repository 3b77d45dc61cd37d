"""Clients that stay connected and play ping-pong, all in one thread over epoll."""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass

PATIENCE = 60.0  # seconds without an answer: the server hangs


@dataclass(frozen=True, slots=True)
class Result:
    """What a run of the clients gave.

    Attributes:
        messages: Answers received.
        seconds: From the first message to the last answer.
        connections: How many clients were connected.
        unserved: Clients that never got their answers.
        slowest: Seconds that the slowest answer took.
    """

    messages: int
    seconds: float
    connections: int
    unserved: int
    slowest: float

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.messages / self.seconds


def connect(address: tuple[str, int], count: int, pause: float = 0.0) -> list[socket.socket]:
    """Connects so many clients, with so many seconds between two of them."""
    clients = []
    for _ in range(count):
        time.sleep(pause)
        client = socket.create_connection(address, timeout=PATIENCE)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        clients.append(client)
    return clients


def ping_pong(
    clients: list[socket.socket],
    size: int,
    *,
    rounds: int | None = None,
    seconds: float | None = None,
) -> Result:
    """Lets every client exchange `rounds` messages, or as many as it can in `seconds`."""
    payload = b"x" * size
    by_fd = {client.fileno(): client for client in clients}
    left = dict.fromkeys(by_fd, rounds if rounds is not None else 1 << 60)
    missing = dict.fromkeys(by_fd, size)
    sent_at: dict[int, float] = {}
    epoll = select.epoll()
    for fd, client in by_fd.items():
        client.setblocking(False)
        epoll.register(fd, select.EPOLLIN)
    messages, slowest, unserved = 0, 0.0, 0
    start = time.perf_counter()
    end = start + seconds if seconds is not None else float("inf")
    for fd, client in by_fd.items():
        sent_at[fd] = time.perf_counter()
        client.send(payload)
    playing = len(clients)
    while playing:
        events = epoll.poll(PATIENCE)
        if not events:
            unserved = playing
            break
        now = time.perf_counter()
        for fd, _ in events:
            data = by_fd[fd].recv(size)
            missing[fd] -= len(data)
            if not data:
                unserved += 1
                playing -= 1
                epoll.unregister(fd)
            elif missing[fd] == 0:
                messages += 1
                slowest = max(slowest, now - sent_at[fd])
                left[fd] -= 1
                if left[fd] and now < end:
                    missing[fd] = size
                    sent_at[fd] = now
                    by_fd[fd].send(payload)
                else:
                    playing -= 1
    took = time.perf_counter() - start
    epoll.close()
    return Result(messages, took, len(clients), unserved, slowest)
