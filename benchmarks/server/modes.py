"""The modes' figures. Each is a ratio to a peer that alternates with us in one run, or a count.

python benchmarks/server/modes.py [asyncio] [greenlets] [memory] [rounds=N]
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import servers
from load import connect, ping_pong
from servers import HERE, Running

WORKERS = 2
SECONDS = 3.0  # of one measurement
SIZE = 64  # bytes a message
PAUSE = 0.002  # seconds between two clients that connect: a bare loop's processes get the same then

Contestant: TypeAlias = Callable[[], AbstractContextManager[Running]]


def compare(connections: int, contestants: dict[str, Contestant], rounds: int) -> None:
    """Lets every contestant serve in turn, and says how the first does beside each other one.

    How fast they are depends on whom the kernel lets run where, clients too; what they answer in a
    second of their own processor time does so much less.
    """
    names = list(contestants)
    rates: dict[str, list[float]] = {name: [] for name in names}
    yields: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in _in_turn(names, number):
            with contestants[name]() as server:
                clients = connect(server.address, connections, PAUSE)
                before = _processor_seconds(server.pid)
                result = ping_pong(clients, SIZE, seconds=SECONDS)
                used = _processor_seconds(server.pid) - before
                rates[name].append(result.rate)
                yields[name].append(result.rate * SECONDS / used)
                for client in clients:
                    client.close()
                if result.unserved:
                    print(f"  {name}: {result.unserved} unserved")
        said = ", ".join(f"{name} {rates[name][-1]:7.0f}/s" for name in names)
        print(f"  {connections} connections, round {number + 1}: {said}")
    _say_ratios(f"{connections} connections", rates)
    _say_ratios(f"{connections} connections, for the same processor time", yields)


def compare_cores(
    program: str, connections: int, contestants: dict[str, Contestant], rounds: int
) -> None:
    """The same with one process on a core of its own, and clients in C on the other."""
    names = list(contestants)
    rates: dict[str, list[float]] = {name: [] for name in names}
    yields: dict[str, list[float]] = {name: [] for name in names}
    cores = sorted(os.sched_getaffinity(0))
    for number in range(rounds):
        for name in _in_turn(names, number):
            os.sched_setaffinity(0, cores[:1])
            with contestants[name]() as server:
                os.sched_setaffinity(0, cores[1:])
                before = _processor_seconds(server.pid)
                done = subprocess.run(
                    [program, str(server.address[1]), str(connections), str(SECONDS), str(SIZE)],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                used = _processor_seconds(server.pid) - before
            answers, seconds = done.stdout.split()
            rates[name].append(int(answers) / float(seconds))
            yields[name].append(int(answers) / used)
        said = ", ".join(f"{name} {rates[name][-1]:7.0f}/s" for name in names)
        print(f"  {connections} connections, one core, round {number + 1}: {said}")
    os.sched_setaffinity(0, cores)
    _say_ratios(f"{connections} connections, one core", rates)
    _say_ratios(f"{connections} connections, one core, for the same processor time", yields)


def _processor_seconds(pid: int) -> float:
    """What a process and its children have used, to the nanosecond."""
    used = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        used += int((task / "schedstat").read_text().split()[0]) / 1e9
        used += sum(map(_processor_seconds, map(int, (task / "children").read_text().split())))
    return used


def _in_turn(names: list[str], number: int) -> list[str]:
    """Lets another one be the first in each round."""
    first = number % len(names)
    return names[first:] + names[:first]


def _say_ratios(what: str, rates: dict[str, list[float]]) -> None:
    ours, *others = rates
    for name in others:
        ratios = [mine / theirs for mine, theirs in zip(rates[ours], rates[name], strict=True)]
        low, high = min(ratios), max(ratios)
        print(
            f"{what}: {ours} / {name}: median ratio "
            f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})"
        )


def ours(handler: str, *settings: str, workers: int = WORKERS) -> Contestant:
    return lambda: servers.manycore(workers, handler, *settings)


def script(name: str, workers: int = WORKERS) -> Contestant:
    return lambda: servers.peer([sys.executable, str(HERE / name)], workers)


def loops(rounds: int) -> None:
    """A protocol on uvloop, beside a bare pre-forked uvloop loop; streams, for comparison."""
    for connections in (64, 1000):
        contestants = {
            "manycore protocol": ours("Echo"),
            "bare uvloop": script("bare_uvloop.py"),
            "manycore streams": ours("streams"),
        }
        compare(connections, contestants, rounds)


def greenlets(rounds: int) -> None:
    """A blocking handler in greenlets, beside gevent's StreamServer and an epoll loop in C."""
    compiler = shutil.which("cc")
    if compiler is None or find_spec("gevent") is None:
        print("greenlets: not compared, which needs gevent and a C compiler (cc)")
        return
    with tempfile.TemporaryDirectory() as directory:
        for name in ("bare_epoll", "ping"):
            command = [compiler, "-O2", "-o", f"{directory}/{name}", str(HERE / f"{name}.c")]
            subprocess.run(command, check=True)
        epoll = [f"{directory}/bare_epoll"]
        contestants: dict[str, Contestant] = {
            "manycore greenlets": ours("handle", "--mode", "greenlets", workers=1),
            "gevent": script("bare_gevent.py", workers=1),
            "C epoll": partial(servers.peer, epoll, 1),
        }
        compare_cores(f"{directory}/ping", 256, contestants, rounds)
        contestants = {
            "manycore greenlets": ours("handle", "--mode", "greenlets"),
            "gevent": script("bare_gevent.py"),
            "C epoll": partial(servers.peer, epoll, WORKERS),
            "manycore threads": ours("handle"),
        }
        compare(256, contestants, rounds)


def memory(_rounds: int, connections: int = 10_000) -> None:
    """What an open connection costs a worker in each mode; threads with fewer."""
    _allow_descriptors(connections + 100)
    room = ["--connections", str(connections + 50)]
    for what, handler, settings, count in (
        ("greenlets", "handle", ["--mode", "greenlets", *room], connections),
        ("asyncio, protocol", "Echo", room, connections),
        ("asyncio, streams", "streams", room, connections),
        ("threads", "handle", ["--threads", "1100"], 1000),
    ):
        with servers.manycore(1, handler, *settings) as server:
            worker = int(
                subprocess.run(
                    ["ps", "-o", "pid=", "--ppid", str(server.pid)],
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
            )
            clients = connect(server.address, 50)
            _exchange(clients)
            before = _private_bytes(worker)
            more = connect(server.address, count)
            _exchange(more)
            cost = (_private_bytes(worker) - before) / count
            for client in clients + more:
                client.close()
        print(f"memory: {what}: {cost / 1000:.1f} kB for each of {count} open connections")


def _exchange(clients: list[socket.socket]) -> None:
    for client in clients:
        client.sendall(b"x" * SIZE)
    for client in clients:
        assert client.recv(SIZE, socket.MSG_WAITALL) == b"x" * SIZE


def _private_bytes(pid: int) -> int:
    time.sleep(0.5)  # what was freed is given back by then
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Private_"))


def _allow_descriptors(wanted: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


FIGURES: dict[str, Callable[[int], None]] = {
    "asyncio": loops,
    "greenlets": greenlets,
    "memory": memory,
}

if __name__ == "__main__":
    print(
        f"{os.cpu_count()} CPUs, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}"
    )
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    chosen = [word for word in words if word in FIGURES]
    for name in chosen or FIGURES:
        FIGURES[name](int(words.get("rounds", "5")))
