"""The server's figures. Each is a ratio to a peer that alternates with us, or a count.

python benchmarks/server/run.py [throughput] [thousand] [idle] [replace] [memory]
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import servers
from load import connect, ping_pong

WORKERS = 2


def throughput(rounds: int = 7, seconds: float = 3.0) -> None:
    """64 connections, 64 bytes: messages per second, beside the bare loop."""
    ratios = []
    for number in range(rounds):
        rates = {}
        order: list[servers.Start] = [servers.manycore, servers.bare]
        for start in order if number % 2 else reversed(order):
            with start(WORKERS) as server:
                clients = connect(server.address, 64)
                rates[start] = ping_pong(clients, 64, seconds=seconds).rate
                for client in clients:
                    client.close()
        ratios.append(rates[servers.manycore] / rates[servers.bare])
        print(
            f"  round {number + 1}: manycore {rates[servers.manycore]:8.0f}/s, "
            f"bare loop {rates[servers.bare]:8.0f}/s, ratio {ratios[-1]:.2f}"
        )
    low, high = min(ratios), max(ratios)
    print(f"throughput: median ratio {statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})")


def thousand() -> None:
    """1,000 clients that stay connected exchange 20 messages each, with default settings."""
    with servers.manycore(WORKERS) as server:
        clients = connect(server.address, 1000)
        result = ping_pong(clients, 64, rounds=20)
        for client in clients:
            client.close()
    print(
        f"thousand: {result.connections} clients, {result.messages} answers, "
        f"{result.unserved} unserved, slowest answer {result.slowest:.2f} s"
    )


def idle(seconds: float = 10.0) -> None:
    """System calls and CPU time of the supervisor and both workers while nobody connects."""
    if shutil.which("strace") is None:
        print("idle: not measured, there is no strace")
        return
    with servers.manycore(WORKERS) as server:
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(server.pid)],
            capture_output=True,
            text=True,
            check=True,
        )
        pids = [server.pid, *map(int, children.stdout.split())]
        before = sum(map(_cpu_ticks, pids))
        attach = [part for pid in pids for part in ("-p", str(pid))]
        tracer = subprocess.Popen(
            ["strace", "-f", "-q", *attach], stderr=subprocess.PIPE, text=True
        )
        time.sleep(seconds)
        tracer.send_signal(signal.SIGINT)
        trace = tracer.communicate()[1]
        ticks = sum(map(_cpu_ticks, pids)) - before
    calls = [line for line in trace.splitlines() if " = " in line]
    print(
        f"idle: {len(pids)} processes, {len(calls)} system calls returned and "
        f"{ticks} clock ticks of CPU in {seconds:.0f} s"
    )


def _cpu_ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def replace(times: int = 20) -> None:
    """`kill -9` of a worker: when its successor serves, and what its sibling's clients notice."""
    delays: list[float] = []
    broken = 0
    with servers.manycore(WORKERS, "named") as server:
        for _ in range(times):
            clients = connect(server.address, 20)
            owners = [_owner(client) for client in clients]
            victim = owners[0]
            time.sleep(1.1)  # let it grow older than "young", as victims are
            start = time.perf_counter()
            os.kill(victim, signal.SIGKILL)
            newcomers: list[socket.socket] = []
            while not newcomers or _owner(newcomers[-1]) in owners:
                newcomers += connect(server.address, 1)
            delays.append(time.perf_counter() - start)
            others = [c for c, owner in zip(clients, owners, strict=True) if owner != victim]
            broken += ping_pong(others, 64, rounds=1).unserved
            for client in clients + newcomers:
                client.close()
    worst, middle = max(delays) * 1000, statistics.median(delays) * 1000
    print(
        f"replace: {times} kills, a new worker serves after {middle:.0f} ms (median), "
        f"{worst:.0f} ms (worst); {broken} connections of the sibling broken"
    )


def _owner(client: socket.socket) -> int:
    """Reads which worker serves a client."""
    return int(client.recv(8, socket.MSG_WAITALL))


def memory(connections: int = 500) -> None:
    """What a connection costs a worker: its thread and its socket object."""
    with servers.manycore(1, "named") as server:
        clients = connect(server.address, 50)
        worker = max(map(_owner, clients))
        before = _private_bytes(worker)
        clients += (more := connect(server.address, connections))
        for client in more:
            _owner(client)
        cost = (_private_bytes(worker) - before) / connections
        for client in clients:
            client.close()
    print(f"memory: {cost / 1000:.0f} kB a connection in a worker")


def _private_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Private_"))


FIGURES: dict[str, Callable[[], None]] = {
    "throughput": throughput,
    "thousand": thousand,
    "idle": idle,
    "replace": replace,
    "memory": memory,
}

if __name__ == "__main__":
    print(
        f"{os.cpu_count()} CPUs, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}"
    )
    for name in sys.argv[1:] or FIGURES:
        FIGURES[name]()
