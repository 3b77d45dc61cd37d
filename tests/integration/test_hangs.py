"""Workers that hang are ended, and it is said why; those that compute or wait are left alone."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from command import TARGETS, Served, serve
from eventually import eventually

HANGS = TARGETS / "hangs.py"
#: how it hangs, in which mode, what the log names, and how many clients hang it
HANGING = {
    "threads, a deadlock": ("deadlock", ["--threads", "3"], "in deadlock", 3),
    "threads, C code": ("holds_the_lock", [], "in holds_the_lock", 1),
    "greenlets, a deadlock": ("deadlock", ["--mode", "greenlets"], "in deadlock", 1),
    "greenlets, C code": ("holds_the_lock", ["--mode", "greenlets"], "in holds_the_lock", 1),
    "asyncio, a deadlock": ("blocks_the_loop", [], "in blocks_the_loop", 1),
    "asyncio's own loop": ("blocks_the_loop", ["--loop", "asyncio"], "in blocks_the_loop", 1),
}
LIVELY = {
    "threads": ("computes", ["--threads", "2"]),
    "greenlets": ("computes", ["--mode", "greenlets"]),
    "asyncio": ("computes_in_the_loop", []),
}


def owner(client: socket.socket) -> int:
    return int(client.recv(8, socket.MSG_WAITALL) or 0)


@pytest.mark.parametrize("way", HANGING)
def test_a_worker_that_hangs(way: str, tmp_path: Path) -> None:
    """The log has its stacks, another one takes its place, and new clients are served."""
    target, settings, named, count = HANGING[way]
    more = ["-w", "1", "--timeout", "0.8", *settings]
    with serve(f"{HANGS}:{target}", *more, log=tmp_path / "log") as served, ExitStack() as stack:
        clients = [stack.enter_context(served.connect(20)) for _ in range(count)]
        victims = {owner(client) for client in clients}
        for client in clients:
            client.sendall(b"1")
        waiting = stack.enter_context(served.connect(20))
        line = served.await_log("hangs and is ended", within=20)
        assert "it made no progress in 0.8 s" in line
        served.await_log(named)
        served.await_log("was killed by SIGABRT")
        if waiting.family == socket.AF_INET and "threads, a" in way:
            assert owner(waiting) not in {0, *victims}
        with served.connect(20) as client:
            assert owner(client) not in {0, *victims}


def test_a_worker_that_was_stopped(tmp_path: Path) -> None:
    """ABRT does not reach it, KILL does."""
    with (
        serve(f"{HANGS}:deadlock", "-w", "1", "--timeout", "0.5", log=tmp_path / "log") as served,
        served.connect() as client,
    ):
        victim = owner(client)
        os.kill(victim, signal.SIGSTOP)
        served.await_log("was killed by SIGKILL", within=25)
        assert "it does not answer: the process is stopped" in served.text


@pytest.mark.parametrize("way", LIVELY)
def test_a_worker_that_computes(way: str, tmp_path: Path) -> None:
    """It may take as long as it likes."""
    target, settings = LIVELY[way]
    more = ["-w", "1", "--timeout", "0.5", *settings]
    with serve(f"{HANGS}:{target}", *more, log=tmp_path / "log") as served:
        with ExitStack() as stack:
            clients = [stack.enter_context(served.connect(20)) for _ in range(2)]
            owners = [owner(client) for client in clients]
            for client in clients:
                client.sendall(b"2")
            assert [client.recv(4, socket.MSG_WAITALL) for client in clients] == [b"done"] * 2
        assert owners[0] == owners[1]
        assert served.workers() == owners[:1]
        assert "hangs and is ended" not in served.text


@pytest.mark.parametrize("way", HANGING)
def test_clients_that_say_nothing(way: str, tmp_path: Path) -> None:
    """Their handlers wait for them, and others in the queue: nobody is ended for that."""
    target, settings, _, count = HANGING[way]
    more = ["-w", "1", "--timeout", "0.3", "--log-level", "debug", *settings]
    with serve(f"{HANGS}:{target}", *more, log=tmp_path / "log") as served, ExitStack() as stack:
        clients = [stack.enter_context(served.connect(20)) for _ in range(count)]
        owners = {owner(client) for client in clients}
        stack.enter_context(served.connect(20))  # with three threads it waits in the queue
        eventually(lambda: asked(served) >= 3, within=20)
        assert set(served.workers()) == owners
        assert "hangs and is ended" not in served.text


def asked(served: Served) -> int:
    """How often a worker was asked where its threads are."""
    return served.text.count("does not move, and is asked where its threads are")
