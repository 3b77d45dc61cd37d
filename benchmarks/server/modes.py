"""The modes' figures. Each is a ratio to a peer that alternates with us in one run, or a count.

python benchmarks/server/modes.py [asyncio] [greenlets] [memory] [rounds=N]
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TypeAlias

import servers
from load import connect, ping_pong
from servers import HERE, Running

from manycore.base import descriptors

WORKERS = 2
DESCRIPTORS = 20_000  # of all clients, and of a peer that does not ask for more itself
TURNS = 7  # of one contestant, in a round
SECONDS = 0.5  # of a turn
WARM_UP = 0.1  # seconds of a turn that does not count: whoever connected last is accepted by then
SIZE = 64  # bytes a message
PAUSE = 0.002  # seconds between two clients that connect: a bare loop's processes get the same then

Contestant: TypeAlias = Callable[[], AbstractContextManager[Running]]


@dataclass(frozen=True, slots=True)
class Measured:
    """How a contestant did.

    Attributes:
        rate: Messages that it answered a second.
        thrift: Messages that it answered in a second of its own processor time.
    """

    rate: float
    thrift: float


#: lets the clients of one server play for so many seconds; gives the answers and the seconds
Play: TypeAlias = Callable[[float], tuple[float, float]]
#: starts a server and its clients
Stage: TypeAlias = Callable[[Contestant], AbstractContextManager[tuple[Running, Play]]]


def compare(what: str, contestants: dict[str, Contestant], stage: Stage, rounds: int) -> None:
    """Lets the contestants serve in short turns, and says how the first does beside each other one.

    In a round all of them run, each with its clients, and one has its turn while the others have
    nothing to do: so a slow moment of the machine is everybody's. With each round they are new: how
    fast a process is depends on where its memory lies.

    It also depends on whom the kernel lets run where, clients too; what they answer in a second of
    their own processor time does so much less.
    """
    names = list(contestants)
    found: dict[str, list[Measured]] = {name: [] for name in names}
    for number in range(rounds):
        with ExitStack() as stack:
            staged = {
                name: stack.enter_context(stage(contestants[name]))
                for name in _in_turn(names, number)
            }
            for _, play in staged.values():
                play(WARM_UP)
            turns: dict[str, list[Measured]] = {name: [] for name in names}
            for turn in range(TURNS):
                for name in _in_turn(names, turn):
                    turns[name].append(_measure(*staged[name]))
        for name in names:
            rate = statistics.median(one.rate for one in turns[name])
            thrift = statistics.median(one.thrift for one in turns[name])
            found[name].append(Measured(rate, thrift))
        said = ", ".join(f"{name} {found[name][-1].rate:7.0f}/s" for name in names)
        print(f"  {what}, round {number + 1}: {said}")
    _say_ratios(what, {name: [one.rate for one in found[name]] for name in names})
    _say_ratios(
        f"{what}, for the same processor time",
        {name: [one.thrift for one in found[name]] for name in names},
    )


def _measure(server: Running, play: Play) -> Measured:
    before = servers.processor_seconds(server.pid)
    answers, seconds = play(SECONDS)
    return Measured(answers / seconds, answers / (servers.processor_seconds(server.pid) - before))


def beside_clients(connections: int) -> Stage:
    """Two processes, and clients that share the cores with them."""

    @contextmanager
    def stage(contestant: Contestant) -> Iterator[tuple[Running, Play]]:
        with contestant() as server:
            clients = connect(server.address, connections, PAUSE)

            def play(seconds: float) -> tuple[float, float]:
                result = ping_pong(clients, SIZE, seconds=seconds)
                if result.unserved:
                    print(f"  {result.unserved} unserved")
                return result.messages, result.seconds

            yield server, play
            for client in clients:
                client.close()

    return stage


def on_a_core(connections: int, ping: str) -> Stage:
    """One process on a core of its own, and clients in C on the other."""
    cores = sorted(os.sched_getaffinity(0))

    @contextmanager
    def stage(contestant: Contestant) -> Iterator[tuple[Running, Play]]:
        with ExitStack() as stack:
            with _only_on(cores[:1]):
                server = stack.enter_context(contestant())
            with _only_on(cores[1:]):
                command = [ping, str(server.address[1]), str(connections), str(SIZE)]
                clients = stack.enter_context(
                    subprocess.Popen(
                        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                    )
                )
            assert clients.stdin is not None
            assert clients.stdout is not None
            given, answer = clients.stdin, clients.stdout

            def play(seconds: float) -> tuple[float, float]:
                print(seconds, file=given, flush=True)
                answers, took = map(float, answer.readline().split())
                return answers, took

            yield server, play

    return stage


@contextmanager
def _only_on(cores: list[int]) -> Iterator[None]:
    """What is started in the block runs on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def compiled() -> Iterator[Callable[[str], str] | None]:
    """Compiles what is in C, and gives what says where it is; None: there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as directory:
        for name in ("bare_epoll", "ping"):
            command = [compiler, "-O2", "-o", f"{directory}/{name}", str(HERE / f"{name}.c")]
            subprocess.run(command, check=True)
        yield lambda name: f"{directory}/{name}"


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


def script(name: str, *arguments: str, workers: int = WORKERS) -> Contestant:
    return lambda: servers.peer([sys.executable, str(HERE / name), *arguments], workers)


def loops(rounds: int) -> None:
    """A protocol on uvloop, beside a bare pre-forked uvloop loop; streams, for comparison."""
    with compiled() as program:
        for connections in (64, 1000):
            if program is None:
                print("asyncio: not compared on a core of its own, which needs a C compiler (cc)")
                continue
            compare(
                f"{connections} connections, one core",
                {
                    "manycore protocol": ours("Echo", workers=1),
                    "bare uvloop": script("bare_uvloop.py", workers=1),
                    "bare uvloop with a thread": script("bare_uvloop.py", "thread", workers=1),
                },
                on_a_core(connections, program("ping")),
                rounds,
            )
    for connections in (64, 1000):
        compare(
            f"{connections} connections",
            {
                "manycore protocol": ours("Echo"),
                "bare uvloop": script("bare_uvloop.py"),
                "manycore streams": ours("streams"),
            },
            beside_clients(connections),
            rounds,
        )


def greenlets(rounds: int) -> None:
    """A blocking handler in greenlets, beside gevent's StreamServer and an epoll loop in C."""
    with compiled() as program:
        if program is None or find_spec("gevent") is None:
            print("greenlets: not compared, which needs gevent and a C compiler (cc)")
            return
        epoll = [program("bare_epoll")]
        compare(
            "256 connections, one core",
            {
                "manycore greenlets": ours("handle", "--mode", "greenlets", workers=1),
                "gevent": script("bare_gevent.py", workers=1),
                "C epoll": partial(servers.peer, epoll, 1),
                "bare greenlets": script("bare_greenlets.py", workers=1),
            },
            on_a_core(256, program("ping")),
            rounds,
        )
        compare(
            "256 connections",
            {
                "manycore greenlets": ours("handle", "--mode", "greenlets"),
                "gevent": script("bare_gevent.py"),
                "C epoll": partial(servers.peer, epoll, WORKERS),
                "manycore threads": ours("handle"),
            },
            beside_clients(256),
            rounds,
        )


def memory(_rounds: int, connections: int = 10_000) -> None:
    """What an open connection costs a worker in each mode; threads with fewer."""
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
    descriptors.allow(DESCRIPTORS)
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    chosen = [word for word in words if word in FIGURES]
    for name in chosen or FIGURES:
        FIGURES[name](int(words.get("rounds", "5")))
