"""What good clients feel of hostile ones: the p99 of their answers, with and without them.

Hostile: 2,000 that say nothing, one that sends a byte a second, and one that sends for ever and
reads nothing. Good: 32 that play ping-pong, one message at a time. The two cases alternate.

    python benchmarks/server/hostile.py [MODE ...]
"""

from __future__ import annotations

import resource
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import servers

SILENT, GOOD, ROUNDS, SECONDS = 2000, 32, 7, 1.5
MODES = {
    "threads": ("handle", ["--threads", "2000"]),
    "greenlets": ("handle", ["--mode", "greenlets"]),
    "asyncio": ("Patient", ["--mode", "asyncio"]),
}


def p99(address: tuple[str, int]) -> float:
    """Plays with every good client in turn; gives microseconds."""
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(address)) for _ in range(GOOD)]
        for client in clients:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        took: list[float] = []
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            for client in clients:
                began = time.perf_counter()
                client.sendall(b"x" * 64)
                client.recv(64, socket.MSG_WAITALL)
                took.append(time.perf_counter() - began)
    return statistics.quantiles(took, n=100)[98] * 1e6


@contextmanager
def hostile(address: tuple[str, int]) -> Iterator[None]:
    """Bothers the server while the block runs."""
    stop = threading.Event()

    def trickle(conn: socket.socket) -> None:
        while not stop.wait(1):
            conn.sendall(b"x")

    def flood(conn: socket.socket) -> None:
        conn.settimeout(0.2)  # once the buffers are full it waits, and tries again
        while not stop.is_set():
            with suppress(TimeoutError):
                conn.sendall(b"x" * 65_536)

    with ExitStack() as stack:
        conns = [stack.enter_context(socket.create_connection(address)) for _ in range(SILENT + 2)]
        bothers = [
            threading.Thread(target=trickle, args=(conns[0],)),
            threading.Thread(target=flood, args=(conns[1],)),
        ]
        for bother in bothers:
            bother.start()
        time.sleep(0.5)  # the flood fills the buffers
        try:
            yield
        finally:
            stop.set()
            for bother in bothers:
                bother.join()


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * SILENT + 1000), hard))
    for mode in sys.argv[1:] or MODES:
        handler, settings = MODES[mode]
        ratios = []
        with servers.manycore(2, handler, *settings) as server:
            for _ in range(ROUNDS):
                alone = p99(server.address)
                with hostile(server.address):
                    beside = p99(server.address)
                ratios.append(beside / alone)
                print(f"  {mode}: alone p99 {alone:6.0f} us, beside {beside:6.0f} us", flush=True)
        ratio = statistics.median(ratios)
        print(f"{mode}: p99 beside hostile clients, median ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
