"""Inside a handler: work in other processes, and state that all workers share."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import manycore
from command import TARGETS, Served, children, is_alive, serve
from eventually import eventually

MODES = [("handle", "threads"), ("handle", "greenlets"), ("stream", "asyncio")]


@contextmanager
def serving(
    log: Path, handler: str, mode: str, workers: int = 1, file: str = "sharing.py"
) -> Iterator[Served]:
    target = f"{TARGETS / file}:{handler}"
    with serve(target, "--mode", mode, "--workers", str(workers), log=log) as served:
        yield served


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def ask(client: socket.socket, word: str) -> str:
    client.sendall(word.encode())
    return client.recv(1000).decode()


@pytest.mark.parametrize(("handler", "mode"), MODES)
def test_offloaded_work(log: Path, handler: str, mode: str) -> None:
    """What it gives comes back, or what it raises, or how it was lost; the pool lives on."""
    with serving(log, handler, mode) as served:
        with served.connect(timeout=20) as client:
            here, _, there = ask(client, "where").split()
            assert here != there
            assert ask(client, "fail") == "ValueError: as it should"
            assert "killed by SIGKILL" in ask(client, "die")
            assert ask(client, "where").split()[0] == here
        (worker,) = served.workers()
        helpers = eventually(lambda: children(worker), within=5)
        served.send(signal.SIGTERM)
        assert served.wait() == 0
        eventually(lambda: not any(map(is_alive, [*helpers, int(there)])), within=5)


@pytest.mark.parametrize(("handler", "mode"), MODES)
def test_others_go_on(log: Path, handler: str, mode: str) -> None:
    """While one connection waits for its work, the same worker answers another."""
    with serving(log, handler, mode) as served:
        with served.connect(timeout=20) as client, served.connect(timeout=20) as other:
            ask(client, "where")
            client.sendall(b"nap")
            begun = time.monotonic()
            for _ in range(20):
                assert ask(other, "echo") == "echo"
            assert time.monotonic() - begun < 0.9
            assert client.recv(100) == b"rested"


@pytest.mark.parametrize(("handler", "mode"), MODES)
def test_others_go_on_while_the_pool_is_made(log: Path, handler: str, mode: str) -> None:
    """The first offloads wait for what the pool needs, several at once, and nobody else does."""
    with (
        serving(log, handler, mode, file="slow_disk.py") as served,
        served.connect(timeout=20) as first,
        served.connect(timeout=20) as second,
        served.connect(timeout=20) as other,
    ):
        first.sendall(b"offload")
        second.sendall(b"offload")
        assert ask(other, "echo") == "echo"
        assert first.recv(100) == second.recv(100) == b"1024"


@pytest.mark.parametrize(("handler", "mode"), MODES)
def test_state_is_the_same_everywhere(log: Path, handler: str, mode: str) -> None:
    """Two workers count together, and so do those after a reload; it goes with the server."""
    with serving(log, handler, mode, workers=2) as served:
        counts, place = [], ""
        for generation in range(2):
            for _ in range(10):
                with served.connect(timeout=20) as client:
                    counts.append(int(ask(client, "count")))
                    place = ask(client, "path")
            if not generation:
                served.send(signal.SIGHUP)
                served.await_log("every worker is of generation 1")
        assert counts == list(range(1, 21))
        assert os.path.isdir(place)
        served.send(signal.SIGTERM)
        assert served.wait() == 0
        assert not os.path.exists(place)


def test_state_goes_even_after_a_kill_of_everybody(log: Path) -> None:
    """The next that makes shared state removes what the dead have left."""
    with serving(log, "handle", "threads") as served:
        with served.connect() as client:
            place = ask(client, "path")
            served.process.kill()
            served.wait()
        eventually(lambda: not any(map(is_alive, served.workers())), within=5)

        def swept() -> bool:
            with manycore.Manager():
                return not os.path.exists(place)

        eventually(swept, within=5)


def test_who_shares_nothing_pays_nothing(log: Path) -> None:
    """A server whose handlers share nothing makes no directory and loads no store."""
    with serving(log, "handle", "threads") as served:
        with served.connect() as client:
            assert ask(client, "echo") == "echo"
        for pid in [served.pid, *served.workers()]:
            assert "lmdb" not in Path(f"/proc/{pid}/maps").read_text()


def test_outside_of_a_server() -> None:
    """Both say what to use instead."""
    with pytest.raises(manycore.NotInServerError, match=r"elsewhere use manycore\.Pool"):
        manycore.offload(abs, -1)
    with pytest.raises(manycore.NotInServerError, match=r"make a manycore\.Manager"):
        manycore.shared.dict()
