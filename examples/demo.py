"""The main job within a minute: a plain handler on every core, and what each worker did.

make demo, or: python examples/demo.py
"""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import manycore

CONNECTIONS = 400
AT_ONCE = 40
MESSAGES = 25
TARGET = f"{Path(__file__).parent / 'echo.py'}:handle"


def talk(address: tuple[str, int]) -> int:
    """One client: connects, sends messages, and gets each of them back."""
    with socket.create_connection(address) as conn:
        for number in range(MESSAGES):
            message = b"message %d" % number
            conn.sendall(message)
            answer = conn.recv(1000)
            if answer != message:
                raise RuntimeError(f"sent {message!r}, got {answer!r}")
    return MESSAGES


def main() -> None:
    """Serves, plays the clients, and shows the figures."""
    cores = manycore.cpu_count()
    print(f"Serving examples/echo.py:handle on {cores} cores, as this would:\n")
    print("    manycore serve examples/echo.py:handle --bind 127.0.0.1:8888\n")
    with manycore.Server(TARGET, log_level="warning") as server:
        (address,) = server.addresses
        print(f"{CONNECTIONS} connections, {AT_ONCE} at a time, {MESSAGES} messages each:\n")
        start = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as clients:
            answers = sum(clients.map(talk, [address] * CONNECTIONS))
        took = time.perf_counter() - start
        while server.statistics().open:
            time.sleep(0.01)  # the last handlers are returning
        show(server.statistics())
    print(f"\n{answers} answers in {took:.2f} s, every one of them right. Stopped.")


def show(statistics: manycore.ServerStatistics) -> None:
    """Prints a row a worker."""
    print("    worker      pid   connections   failed")
    for worker in statistics.workers:
        print(f"    {worker.worker:6} {worker.pid:8} {worker.accepted:13} {worker.failed:8}")
    print(f"    {'all':>6} {'':8} {statistics.accepted:13} {statistics.failed:8}")


if __name__ == "__main__":
    main()
