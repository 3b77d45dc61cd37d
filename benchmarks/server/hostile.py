"""What good clients feel of hostile ones: the p99 of their answers, with and without them.

Hostile: 2,000 that say nothing, one that sends a byte a second, and one that sends for ever and
reads nothing. Good: 32 that play ping-pong, one message at a time; with a web application, one
request at a time. The two cases alternate.

    python benchmarks/server/hostile.py [MODE ...]
"""

from __future__ import annotations

import itertools
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import servers

from manycore.base import descriptors

SILENT, GOOD, ROUNDS, SECONDS = 2000, 32, 7, 1.5
MANY_THREADS = ["--threads", "2100"]
MODES = {
    "threads": ("echo.py:handle", MANY_THREADS),
    "greenlets": ("echo.py:handle", ["--mode", "greenlets"]),
    "asyncio": ("echo.py:Patient", ["--mode", "asyncio"]),
    "asgi": ("whose.py:asgi", ["--asgi"]),
    "wsgi": ("whose.py:wsgi", ["--wsgi", *MANY_THREADS]),
}
PATIENCE = 30.0  # seconds for the flood to fill the buffers
LOOK = 0.2  # seconds of a look whether the server rests
BODY = 8  # bytes of an answer behind its head
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def play_ping(client: socket.socket) -> None:
    """Sends a message and waits for it."""
    client.sendall(b"x" * 64)
    client.recv(64, socket.MSG_WAITALL)


def play_get(client: socket.socket) -> None:
    """Sends a request and waits for the end of its answer."""
    client.sendall(REQUEST)
    answer = b""
    while len(answer.partition(b"\r\n\r\n")[2]) < BODY:
        chunk = client.recv(4096)
        assert chunk, answer
        answer += chunk


def p99(address: tuple[str, int], play: Callable[[socket.socket], None]) -> float:
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
                play(client)
                took.append(time.perf_counter() - began)
    return statistics.quantiles(took, n=100)[98] * 1e6


@contextmanager
def hostile(server: servers.Running, message: bytes) -> Iterator[None]:
    """Bothers the server while the block runs."""
    stop, full = threading.Event(), threading.Event()
    flooding = message * (65_536 // len(message))

    def trickle(conn: socket.socket) -> None:
        for byte in itertools.cycle(message):
            if stop.wait(1):
                return
            with suppress(ConnectionError):  # WSGI is not that patient
                conn.sendall(bytes([byte]))

    def flood(conn: socket.socket) -> None:
        conn.settimeout(0.2)
        sent = 0
        while not stop.is_set():
            try:
                sent = (sent + conn.send(flooding[sent:])) % len(flooding)
            except TimeoutError:  # the buffers are full
                full.set()
            except ConnectionError:  # the server has enough of it
                full.set()
                return

    with ExitStack() as stack:
        flooder = stack.enter_context(socket.create_connection(server.address))
        bothers = [threading.Thread(target=flood, args=(flooder,))]
        bothers[0].start()
        try:
            full.wait(PATIENCE)
            let_rest(server.pid)  # what it has got it still answers
            for _ in range(SILENT):
                stack.enter_context(socket.create_connection(server.address))
            trickler = stack.enter_context(socket.create_connection(server.address))
            bothers.append(threading.Thread(target=trickle, args=(trickler,)))
            bothers[1].start()
            let_rest(server.pid)
            yield
        finally:
            stop.set()
            for bother in bothers:
                bother.join()


def let_rest(pid: int) -> None:
    """Waits until a server has nothing to do."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        before = servers.processor_seconds(pid)
        time.sleep(LOOK)
        if servers.processor_seconds(pid) - before < LOOK / 50:
            return


def main() -> None:
    descriptors.allow(2 * SILENT + 1000)
    for mode in sys.argv[1:] or MODES:
        handler, settings = MODES[mode]
        ratios = []
        play, message = (play_get, REQUEST) if "whose" in handler else (play_ping, b"x")
        with servers.manycore(2, handler, *settings) as server:
            for _ in range(ROUNDS):
                alone = p99(server.address, play)
                with hostile(server, message):
                    beside = p99(server.address, play)
                ratios.append(beside / alone)
                print(f"  {mode}: alone p99 {alone:6.0f} us, beside {beside:6.0f} us", flush=True)
        ratio = statistics.median(ratios)
        print(f"{mode}: p99 beside hostile clients, median ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
