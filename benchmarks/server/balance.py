"""How evenly connections that stay open are spread over workers, in every mode.

python benchmarks/server/balance.py [MODE ...] [workers=N] [connections=N] [rounds=N]
"""

from __future__ import annotations

import os
import platform
import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from servers import HERE

from manycore import Server

Address: TypeAlias = tuple[str, int]
Connect: TypeAlias = Callable[[Address, int], list[socket.socket]]

PATIENCE = 10.0  # seconds until all connections are taken

#: what is served, and how, by the name of the mode
MODES: dict[str, tuple[str, dict[str, Any]]] = {
    "threads": ("echo.py:handle", {"mode": "threads"}),
    "greenlets": ("echo.py:handle", {"mode": "greenlets"}),
    "protocol": ("echo.py:Echo", {"mode": "asyncio"}),
    "streams": ("echo.py:streams", {"mode": "asyncio"}),
    "asgi": ("whose.py:asgi", {"asgi": True}),
    "wsgi": ("whose.py:wsgi", {"wsgi": True}),
}


def one_after_another(address: Address, count: int) -> list[socket.socket]:
    """Connects, and connects again when that is done."""
    return [socket.create_connection(address, timeout=PATIENCE) for _ in range(count)]


def at_once(address: Address, count: int) -> list[socket.socket]:
    """Begins all connections before the first is looked at."""
    clients = [socket.socket() for _ in range(count)]
    with selectors.DefaultSelector() as selector:
        for client in clients:
            client.setblocking(False)
            client.connect_ex(address)
            selector.register(client, selectors.EVENT_WRITE)
        while selector.get_map():
            for key, _ in selector.select(PATIENCE):
                selector.unregister(key.fileobj)
    return clients


@contextmanager
def connected(server: Server, connect: Connect, count: int) -> Iterator[tuple[float, list[int]]]:
    """Gives how long it took until all were taken, and how many each worker has."""
    start = time.perf_counter()
    clients = connect(server.addresses[0], count)
    await_open(server, count)
    took = time.perf_counter() - start
    yield took, [worker.open for worker in server.statistics().workers]
    for client in clients:
        client.close()
    await_open(server, 0)


def await_open(server: Server, count: int) -> None:
    """Waits until so many connections are open."""
    deadline = time.monotonic() + PATIENCE
    while server.statistics().open != count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{server.statistics().open} connections are open, not {count}")
        time.sleep(0.001)


def measure(mode: str, workers: int, connections: int, rounds: int) -> None:
    """Says how far the fullest worker is from the mean, in the worst of several rounds."""
    target, settings = MODES[mode]
    with Server(f"{HERE}/{target}", workers=workers, log_level="warning", **settings) as server:
        for connect in (one_after_another, at_once):
            worst, shares, times = 0.0, [0], []
            for _ in range(rounds):
                with connected(server, connect, connections) as (took, found):
                    times.append(took)
                    ratio = max(found) * len(found) / connections
                    if ratio > worst:
                        worst, shares = ratio, found
            how = connect.__name__.replace("_", " ")
            each = min(times) / connections * 1e6
            print(
                f"{mode:9} {connections} {how:18} {'/'.join(map(str, shares)):>16}  "
                f"max/mean {worst:.2f} (the worst of {rounds}), {each:.0f} µs a connection"
            )


if __name__ == "__main__":
    print(
        f"{os.cpu_count()} CPUs, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}"
    )
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    for name in [word for word in words if word in MODES] or MODES:
        measure(
            name,
            int(words.get("workers", "4")),
            int(words.get("connections", "200")),
            int(words.get("rounds", "5")),
        )
