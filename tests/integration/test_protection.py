"""What keeps clients from wearing a server out, in every mode."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from command import TARGETS, Served, serve
from eventually import eventually

ECHO = TARGETS / "echo.py"
MODES = TARGETS / "modes.py"
#: an echo that names its process first
WAYS: dict[str, tuple[str, list[str]]] = {
    "threads": (f"{ECHO}:named", []),
    "streams": (f"{MODES}:named", []),
}
#: an echo that waits for its client to begin
SILENT: dict[str, tuple[str, list[str]]] = {
    "threads": (f"{ECHO}:handle", []),
    "greenlets": (f"{ECHO}:handle", ["--mode", "greenlets"]),
    "streams": (f"{MODES}:echo", []),
    "protocol": (f"{MODES}:Echo", []),
}
Start = Callable[..., Any]


@pytest.fixture(params=["threads", "streams"])  # what the acceptor does is the same in all
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    target, settings = WAYS[request.param]
    return lambda *more, **facts: serve(target, *settings, *more, log=tmp_path / "log", **facts)


@pytest.fixture(params=SILENT)
def echo(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    target, settings = SILENT[request.param]
    return lambda *more: serve(target, *settings, *more, log=tmp_path / "log")


def owner(client: socket.socket) -> int:
    """Reads which worker serves a client; 0: it was disconnected."""
    try:
        return int(client.recv(8, socket.MSG_WAITALL) or 0)
    except ConnectionResetError:
        return 0


def is_over(client: socket.socket) -> bool:
    """Waits for the end of a connection."""
    try:
        return client.recv(1000) == b""
    except ConnectionResetError:
        return True


def exchange(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    return client.recv(1000)


def test_more_than_all_workers_may_have_is_refused(start: Start) -> None:
    """At once and with a message; when one leaves, there is room for one."""
    message = ["--overflow", "refuse", "--overflow-message", "too busy"]
    with start("-w", "2", "--max-connections", "5", *message) as served, ExitStack() as stack:
        clients = [stack.enter_context(served.connect()) for _ in range(5)]
        assert all(owner(client) for client in clients)
        with served.connect() as client:
            client.sendall(b"hello?")
            assert client.recv(1000) == b"too busy\r\n"
            assert is_over(client)
        served.await_log("was refused: the server has all the connections that it may have")
        clients[0].close()

        def gets_in() -> bool:
            client: socket.socket = stack.enter_context(served.connect())
            return client.recv(8, socket.MSG_WAITALL).isdigit()

        assert eventually(gets_in, within=10)


def test_more_than_all_workers_may_have_wait(start: Start) -> None:
    """Nobody is refused, and who waits is served when another one leaves."""
    with start("-w", "2", "--max-connections", "3") as served, ExitStack() as stack:
        clients = [stack.enter_context(served.connect()) for _ in range(3)]
        assert all(owner(client) for client in clients)
        waiting = stack.enter_context(served.connect())
        waiting.settimeout(0.3)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        clients[0].close()
        waiting.settimeout(10)
        assert owner(waiting)


def test_one_address_has_its_bound(start: Start) -> None:
    """Over all workers; other addresses are served, and what ended counts no more."""
    with start("-w", "2", "--max-per-address", "4", bind="0.0.0.0:0") as served:
        port = served.address[1]
        with ExitStack() as stack:

            def connect(source: str) -> socket.socket:
                made: socket.socket = socket.create_connection(("127.0.0.1", port), 10, (source, 0))
                return stack.enter_context(made)

            assert all(owner(connect("127.0.0.2")) for _ in range(4))
            assert not owner(connect("127.0.0.2"))
            assert all(owner(connect("127.0.0.3")) for _ in range(4))
        served.await_log("its address has all the connections that it may have")

        def gets_in() -> int:
            with socket.create_connection(("127.0.0.1", port), 10, ("127.0.0.2", 0)) as client:
                return owner(client)

        assert eventually(gets_in, within=10)


def test_behind_a_proxy_the_clients_have_bounds(echo: Start) -> None:
    """Not the proxy itself, whose address every connection has."""
    bounds = ["--proxy-protocol", "--max-per-address", "1"]
    with echo("-w", "1", *bounds) as served, ExitStack() as stack:

        def connect(source: str) -> socket.socket:
            client: socket.socket = stack.enter_context(served.connect())
            client.sendall(f"PROXY TCP4 {source} 127.0.0.1 5 6\r\n".encode())
            return client

        first, other = connect("192.0.2.1"), connect("192.0.2.2")
        assert exchange(first, b"hello") == b"hello"
        assert exchange(other, b"hello") == b"hello"
        assert is_over(connect("192.0.2.1"))


def test_silent_clients_are_ended(echo: Start) -> None:
    """Who says something in time stays, for as long as it likes."""
    with echo("-w", "1", "--first-byte-timeout", "0.5") as served:
        with served.connect() as speaker, served.connect() as silent:
            assert exchange(speaker, b"hello") == b"hello"
            assert is_over(silent)
            assert exchange(speaker, b"still here") == b"still here"
        served.await_log("is disconnected: it never said anything")


def test_who_is_spoken_to_is_not_silent(start: Start) -> None:
    """Servers that speak first are no reason to disconnect anybody."""
    with start("-w", "1", "--first-byte-timeout", "0.3") as served, served.connect() as client:
        assert owner(client)
        with served.connect() as other:
            time.sleep(0.6)  # longer than it would take
            assert owner(other)
        assert exchange(client, b"hello") == b"hello"


def test_idle_clients_are_ended(echo: Start) -> None:
    """The handler sees the end of its client; who goes on talking stays."""
    with echo("-w", "1", "--idle-timeout", "0.6") as served:
        with served.connect() as talker, served.connect() as idler:
            assert exchange(idler, b"hello") == b"hello"
            ended = threading.Event()
            watcher = threading.Thread(target=lambda: ended.set() if is_over(idler) else None)
            watcher.start()
            eventually(lambda: exchange(talker, b"more") == b"more" and ended.is_set(), within=10)
            watcher.join()
            assert exchange(talker, b"hello") == b"hello"
        served.await_log("is disconnected: it has been silent for too long")


def test_descriptors_run_out(start: Start) -> None:
    """The worker waits without spinning, says so once, and serves again when there are some."""
    with start("-w", "1") as served, ExitStack() as stack:
        (worker,) = served.workers()
        clients = [stack.enter_context(served.connect()) for _ in range(2)]
        assert all(owner(client) for client in clients)
        limit(worker, 1)
        waiting = [stack.enter_context(served.connect()) for _ in range(3)]
        served.await_log("cannot accept for now: too many open files")
        before = cpu_seconds(worker)
        time.sleep(0.5)  # in which one that spins would use as much of a CPU
        assert cpu_seconds(worker) - before < 0.2
        limit(worker, 1024)
        assert all(owner(client) for client in waiting)
        assert served.text.count("cannot accept for now") == 1


def test_descriptors_run_out_and_clients_shall_not_wait(start: Start) -> None:
    """They are refused, by the descriptor that was kept back for that."""
    message = ["--overflow", "refuse", "--overflow-message", "too busy"]
    with start("-w", "1", *message) as served, served.connect() as client:
        worker = owner(client)
        limit(worker, first_free(worker))
        for _ in range(3):
            with served.connect() as refused:
                assert refused.recv(1000) == b"too busy\r\n"
        limit(worker, 1024)

        def gets_in() -> bool:
            with served.connect() as another:
                answer: bytes = another.recv(8, socket.MSG_WAITALL)
                return answer.isdigit()

        assert eventually(gets_in, within=10)
        assert exchange(client, b"hello") == b"hello"


def limit(pid: int, files: int) -> None:
    """Sets how many descriptors a process may have."""
    subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={files}:"], check=True)


def first_free(pid: int) -> int:
    """The number of its next descriptor: that many it may have, and it gets none."""
    taken = {int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    return next(fd for fd in count() if fd not in taken)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def serve_until_renewed(served: Served) -> None:
    """Connects clients one after the other until another process serves them; all are served."""
    first = set(served.workers())

    def is_renewed() -> bool:
        with served.connect() as client:
            return bool(pid := owner(client)) and pid not in first

    eventually(is_renewed, within=20)


@pytest.mark.parametrize("bound", ["--max-requests=5", "--max-age=0.4", "--max-rss=1M"])
def test_workers_are_renewed(start: Start, bound: str) -> None:
    """One at a time, by a successor that is ready, and nobody who connects notices."""
    more = ["--max-requests-jitter", "3"] if "requests" in bound else []
    with start("-w", "2", bound, *more) as served:
        with served.connect() as client:
            old = owner(client)
            if "rss" not in bound:
                serve_until_renewed(served)
            served.await_log("this worker shall be renewed: it has ")

            def is_followed() -> bool:
                with served.connect() as another:  # which counts, where connections are counted
                    assert owner(another)
                return len(served.workers()) == 3 or old not in served.workers()

            eventually(is_followed, within=9)
            assert exchange(client, b"hello") == b"hello"
        assert "Traceback" not in served.text
        assert "with it" not in served.text


def test_a_stop_while_a_worker_is_renewed(start: Start) -> None:
    """It ends as any other."""
    with start("-w", "1", "--max-requests", "1") as served:
        with served.connect() as client:
            assert owner(client)
        served.send(signal.SIGTERM)
        assert served.wait() == 0


def test_settings_that_make_no_sense() -> None:
    """They are refused by one line."""
    done = subprocess.run(
        [sys.executable, "-m", "manycore", "serve", f"{ECHO}:named", "--max-requests-jitter", "5"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert "max_requests_jitter" in done.stderr
