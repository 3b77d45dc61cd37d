"""The server on a kernel that is not Linux: this one, with all that is Linux's alone taken away."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from command import TARGETS, Served, is_alive, serve
from eventually import eventually

ECHO, MODES = TARGETS / "echo.py", TARGETS / "modes.py"
ELSEWHERE: dict[str, Any] = {"PYTHONPATH": str(TARGETS / "elsewhere")}
WORKERS = 3

WAYS = {
    "threads": [f"{ECHO}:named"],
    "greenlets": [f"{ECHO}:named", "--mode", "greenlets"],
    "streams": [f"{MODES}:named"],
    "protocol": [f"{MODES}:Named"],
    "protocol on asyncio's loop": [f"{MODES}:Named", "--loop", "asyncio"],
}


@pytest.fixture(params=WAYS)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """A server in each mode, whose handler names its process and then sends back what it gets."""
    with serve(
        *WAYS[request.param], f"--workers={WORKERS}", log=tmp_path / "log", **ELSEWHERE
    ) as it:
        yield it


def ask(client: socket.socket, data: bytes = b"hello") -> bytes:
    client.sendall(data)
    return client.recv(len(data), socket.MSG_WAITALL)


def pid_of(client: socket.socket) -> int:
    return int(client.recv(8, socket.MSG_WAITALL))


@contextmanager
def load(served: Served, clients: int = 4) -> Iterator[list[BaseException]]:
    """Clients that come, ask three times and leave, again and again; gives what went wrong."""
    wrong: list[BaseException] = []
    over = threading.Event()

    def visit_again_and_again() -> None:
        while not over.is_set():
            try:
                with served.connect() as client:
                    pid_of(client)
                    for _ in range(3):
                        assert ask(client) == b"hello"
            except (OSError, AssertionError, ValueError) as error:
                wrong.append(error)

    threads = [threading.Thread(target=visit_again_and_again) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_every_mode_serves_and_stops(served: Served) -> None:
    """Clients that come at once are served by all workers; TERM lets one that talks finish."""
    with ExitStack() as clients:
        opened = [clients.enter_context(served.connect()) for _ in range(10 * WORKERS)]
        shares = Counter(map(pid_of, opened))
        assert [ask(client) for client in opened] == [b"hello"] * len(opened)
        assert sorted(shares) == sorted(served.workers())
        for client in opened[1:]:
            client.close()
        served.send(signal.SIGTERM)
        served.await_log("stopping")
        assert ask(opened[0]) == b"hello"
    assert served.wait() == 0
    assert "Error" not in served.text


def test_it_says_once_what_the_kernel_lacks(served: Served) -> None:
    """One line of the log names it, and the page that tells what follows."""
    assert served.await_log("this kernel has no EPOLLEXCLUSIVE").endswith("docs/platforms.md")


def test_reloads_and_stops_under_load_break_nothing(served: Served) -> None:
    """Each reload renews every worker; no client sees anything of it."""
    with load(served) as wrong:
        for generation in (1, 2):
            served.send(signal.SIGHUP)
            served.await_log(f"every worker is of generation {generation}", within=20)
    assert not wrong


def test_a_killed_worker_is_replaced(served: Served) -> None:
    """Its clients lose their connections, and another one serves in its place."""
    with served.connect() as client:
        victim = pid_of(client)
        os.kill(victim, signal.SIGKILL)
        assert client.recv(1) == b""
    served.await_log(f"(pid {victim}) was killed by SIGKILL")
    eventually(lambda: len(served.workers()) == WORKERS, within=10)
    with served.connect() as client:
        assert pid_of(client) != victim


def test_workers_end_with_a_killed_supervisor(served: Served) -> None:
    """Nothing of a server outlives it, though no kernel sees to that."""
    workers = served.workers()
    served.send(signal.SIGKILL)
    eventually(lambda: not any(map(is_alive, workers)), within=5)


def test_a_silent_client_costs_nobody_anything(served: Served) -> None:
    """While one waits for ever and one does not read, others are answered."""
    with served.connect() as silent, served.connect() as flood:
        pid_of(silent)
        flood.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                flood.send(bytes(65_536))
        with served.connect() as client:
            pid_of(client)
            assert ask(client) == b"hello"


def test_status_scale_and_dump(served: Served) -> None:
    """The control socket answers as everywhere."""

    def command(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "manycore", *arguments, "--name", str(served.pid)],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
            env=os.environ | ELSEWHERE,
        )
        return done.stdout

    assert str(served.workers()[0]) in command("status")
    command("scale", "+1")
    eventually(lambda: len(served.workers()) == WORKERS + 1, within=10)
    assert "acceptor" in command("dump")


PROGRAM = """
import socket
from manycore import Server

def shout(conn):
    conn.sendall(conn.recv(100).upper())

with Server(shout, workers=2, log_level="warning") as server:
    with socket.create_connection(server.addresses[0]) as client:
        client.sendall(b"hello")
        print(client.recv(100))
    print(server.wait(0.01))
"""


def run_program(text: str, **environ: Any) -> str:
    done = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env=os.environ | ELSEWHERE | environ,
    )
    return done.stdout


def test_a_server_beside_a_program() -> None:
    """`Server` starts, waits for and stops a supervisor."""
    assert run_program(PROGRAM) == "b'HELLO'\nFalse\n"


@pytest.mark.parametrize("what", ["Pool(1)", "Executor(1)", "Manager()", "Process()"])
def test_what_needs_linux_says_so(what: str) -> None:
    """It is no AttributeError."""
    text = f"import manycore\ntry: manycore.{what}\nexcept ImportError as error: print(error)"
    assert "need Linux" in run_program(text).replace("needs", "need")
