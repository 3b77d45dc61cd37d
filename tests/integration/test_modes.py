"""What holds in every mode: the same things happen to clients, whatever serves them."""

from __future__ import annotations

import http.client
import itertools
import os
import random
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from command import TARGETS, Served, serve
from eventually import eventually
from manycore import Server

ECHO = TARGETS / "echo.py"
MODES = TARGETS / "modes.py"

#: what is served and how, in each mode: an echo, one that names its process, one that raises
WAYS: dict[str, tuple[dict[str, str], list[str]]] = {
    "threads": (
        {"echo": f"{ECHO}:handle", "named": f"{ECHO}:named", "fails": f"{ECHO}:fails"},
        [],
    ),
    "greenlets": (
        {"echo": f"{ECHO}:handle", "named": f"{ECHO}:named", "fails": f"{ECHO}:fails"},
        ["--mode", "greenlets"],
    ),
    "streams": (
        {"echo": f"{MODES}:echo", "named": f"{MODES}:named", "fails": f"{MODES}:fails"},
        [],
    ),
    "protocol": (
        {"echo": f"{MODES}:Echo", "named": f"{MODES}:Named", "fails": f"{MODES}:Fails"},
        [],
    ),
    "streams on asyncio's loop": (
        {"echo": f"{MODES}:echo", "named": f"{MODES}:named", "fails": f"{MODES}:fails"},
        ["--loop", "asyncio"],
    ),
    "protocol on asyncio's loop": (
        {"echo": f"{MODES}:Echo", "named": f"{MODES}:Named", "fails": f"{MODES}:Fails"},
        ["--loop", "asyncio"],
    ),
}

Serve = Callable[..., Any]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def serving(way: str, tmp_path: Path) -> Serve:
    """Serves the test's mode's form of a handler by the command."""
    targets, settings = WAYS[way]
    log = tmp_path / "log"

    def start(what: str, *arguments: str) -> Any:
        return serve(targets[what], *settings, *arguments, log=log)

    return start


def exchange(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    return client.recv(1000)


def owner(client: socket.socket) -> int:
    return int(client.recv(8, socket.MSG_WAITALL))


@contextmanager
def clients(served: Served, count: int) -> Iterator[list[socket.socket]]:
    connected = [served.connect(timeout=20) for _ in range(count)]
    try:
        yield connected
    finally:
        for client in connected:
            client.close()


def test_a_thousand_clients_at_once(serving: Serve) -> None:
    """Each gets its own bytes back, while all of them are connected."""
    with serving("echo", "-w", "2") as served, clients(served, 1000) as connected:
        for round_ in range(3):
            for number, client in enumerate(connected):
                client.sendall(b"%d of %d" % (number, round_))
            for number, client in enumerate(connected):
                assert client.recv(100) == b"%d of %d" % (number, round_)


@pytest.mark.parametrize("what", [b"error", b"exit", b"interrupt"])
def test_a_handler_that_raises(way: str, serving: Serve, what: bytes) -> None:
    """It ends its own connection; the traceback is in the log, and the next one is served."""
    if way == "protocol on asyncio's loop" and what != b"error":
        pytest.skip("that loop lets it through, and leaves the connection open")
    with serving("fails", "-w", "1") as served, served.connect() as bystander:
        for _ in range(2):
            with served.connect() as client:
                with suppress(ConnectionResetError):
                    assert exchange(client, what) == b""
        served.await_log("Traceback")
        served.await_log("the handler failed")
        with served.connect() as client:
            assert exchange(client, b"fine") == b"fine"
        assert exchange(bystander, b"me too") == b"me too"


def test_a_callback_that_would_end_the_loop(tmp_path: Path) -> None:
    """The standard library's loop is left by SystemExit; ours goes on."""
    with serve(f"{MODES}:Fails", "-w", "1", "--loop", "asyncio", log=tmp_path / "log") as served:
        with served.connect() as client:
            client.sendall(b"exit")
            served.await_log("SystemExit: 3")
        with served.connect() as client:
            assert exchange(client, b"fine") == b"fine"


def test_clients_that_reset(serving: Serve) -> None:
    """Nobody else notices, and they are counted as done."""
    with serving("echo", "-w", "1") as served, served.connect() as bystander:
        for _ in range(20):
            client = served.connect()
            client.sendall(b"x" * 1000)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        assert exchange(bystander, b"still here") == b"still here"
        assert "Traceback" not in served.text


def test_half_closed_connections(way: str, serving: Serve) -> None:
    """A client that has said everything still gets the whole answer."""
    if way.startswith("protocol"):
        pytest.skip("a protocol decides by its eof_received")
    data = random.Random(0).randbytes(100_000)
    with serving("echo", "-w", "1") as served, served.connect() as client:
        sender = threading.Thread(
            target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR))
        )
        sender.start()
        received = client.makefile("rb").read()
        sender.join()
        assert received == data


def test_big_transfers_with_slow_readers(serving: Serve) -> None:
    """Who reads slowly makes the sender wait: no byte is lost, and no memory filled."""
    size = 8_000_000
    data = random.Random(0).randbytes(size)
    with serving("echo", "-w", "1") as served, served.connect() as bystander:
        (worker,) = served.workers()
        with clients(served, 3) as connected:
            senders = [
                threading.Thread(target=client.sendall, args=(data,)) for client in connected
            ]
            for sender in senders:
                sender.start()
            time.sleep(0.5)  # nobody reads: everything on the way fills
            assert exchange(bystander, b"quick") == b"quick"
            assert _resident(worker) < 120_000_000
            for client in connected:
                with client.makefile("rb") as file:
                    whole = file.read(size) == data
                assert whole
            for sender in senders:
                sender.join()


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_more_clients_than_a_worker_serves(way: str, serving: Serve) -> None:
    """They wait in the queue, and are served as soon as somebody has gone."""
    limit = "--threads" if way == "threads" else "--connections"
    with serving("echo", "-w", "1", limit, "2") as served:
        first, second = served.connect(), served.connect()
        for client in (first, second):
            assert exchange(client, b"x") == b"x"
        with served.connect(timeout=0.3) as waiting:
            with pytest.raises(TimeoutError):
                exchange(waiting, b"y")
            waiting.settimeout(10)
            first.close()
            assert waiting.recv(10) == b"y"
        second.close()
        for _ in range(20):  # the place is free again each time
            with served.connect() as client:
                assert exchange(client, b"z") == b"z"


def test_term_lets_open_connections_finish_and_serves_the_queue(way: str, serving: Serve) -> None:
    """Whoever connected before TERM is served to the end; then the exit code is 0."""
    limit = "--threads" if way == "threads" else "--connections"
    with serving("echo", "-w", "1", limit, "1") as served:
        first = served.connect()
        assert exchange(first, b"first") == b"first"
        queued = [served.connect() for _ in range(10)]
        for client in queued:
            client.sendall(b"queued")
        served.send(signal.SIGTERM)
        served.await_log("stopping: got SIGTERM")
        assert exchange(first, b"more") == b"more"
        first.close()
        for client in queued:
            assert client.recv(10) == b"queued"
            client.close()
        assert served.wait() == 0


def test_term_ends_what_outlasts_the_grace_period(serving: Serve) -> None:
    """A connection that never ends is ended; the exit code is 0 all the same."""
    with serving("echo", "-w", "2", "--graceful-timeout", "0.3") as served:
        with served.connect() as client:
            assert exchange(client, b"x") == b"x"
            served.send(signal.SIGTERM)
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""
            assert served.wait() == 0
            assert "ended 1 connections that were still open" in served.text
            assert "Traceback" not in served.text


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_are_quick(serving: Serve, signum: signal.Signals) -> None:
    """Open connections are ended at once."""
    with serving("echo", "-w", "2") as served, served.connect() as client:
        assert exchange(client, b"x") == b"x"
        served.send(signum)
        with suppress(ConnectionResetError):
            assert client.recv(1) == b""
        assert served.wait(3) == 0
        assert "Traceback" not in served.text


def test_a_coroutine_that_does_not_end_is_cancelled(tmp_path: Path) -> None:
    """After the grace period; its `finally` runs."""
    arguments = ["-w", "1", "--graceful-timeout", "0.2"]
    with serve(f"{MODES}:stubborn", *arguments, log=tmp_path / "log") as served:
        with served.connect() as client:
            owner(client)
            served.send(signal.SIGTERM)
            assert served.wait(5) == 0
            assert "cancelled" in served.text
            assert "Traceback" not in served.text


def test_a_killed_worker_breaks_its_own_connections_only(serving: Serve) -> None:
    """The sibling's clients notice nothing; newcomers are served."""
    with serving("named", "-w", "2") as served, clients(served, 40) as connected:
        owners = [owner(client) for client in connected]
        victim = owners[0]
        os.kill(victim, signal.SIGKILL)
        for client, pid in zip(connected, owners, strict=True):
            if pid == victim:
                with suppress(ConnectionResetError):
                    assert client.recv(1) == b""
            else:
                assert exchange(client, b"unharmed") == b"unharmed"
        with served.connect() as newcomer:
            assert owner(newcomer) != victim


def test_reloads_under_load_break_nothing(serving: Serve) -> None:
    """Connections that come and go all the while are all served."""
    with serving("named", "-w", "2") as served:
        stop = threading.Event()
        served_by: set[int] = set()
        problems: list[BaseException] = []
        count = itertools.count()

        def keep_coming() -> None:
            try:
                while not stop.is_set():
                    with served.connect() as client:
                        served_by.add(owner(client))
                        for _ in range(3):
                            assert exchange(client, b"on") == b"on"
                        next(count)
            except BaseException as error:
                problems.append(error)

        comers = [threading.Thread(target=keep_coming) for _ in range(4)]
        for comer in comers:
            comer.start()
        try:
            for generation in (1, 2, 3):
                served.send(signal.SIGHUP)
                served.await_log(f"every worker is of generation {generation}", within=20)
        finally:
            stop.set()
            for comer in comers:
                comer.join()
        assert not problems
        assert len(served_by) >= 4
        assert next(count) > 20


def test_idle_workers_do_not_wake_up(serving: Serve) -> None:
    """With connections that are open and silent, no process of the server runs."""

    def wakeups() -> int:
        pids = [served.pid, *served.workers()]
        return sum(_switches(pid) for pid in pids)

    with serving("echo", "-w", "2") as served, clients(served, 10) as connected:
        for client in connected:
            assert exchange(client, b"x") == b"x"
        before = eventually(lambda: _settled(wakeups), within=10)
        time.sleep(1)
        assert wakeups() == before


def _settled(measure: Callable[[], int]) -> int:
    before = measure()
    time.sleep(0.8)  # by then, whoever handed a connection on has looked whether it was taken
    return before if measure() == before else 0


def _switches(pid: int) -> int:
    """Counts how often each thread of a process gave up or lost a CPU."""
    found = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        with suppress(FileNotFoundError, ProcessLookupError):
            lines = status.read_text().splitlines()
            found += sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return found


# What each mode has of its own.


@pytest.mark.parametrize(
    ("target", "settings", "mode"),
    [
        (f"{ECHO}:handle", {}, "threads"),
        (f"{ECHO}:handle", {"mode": "greenlets"}, "greenlets"),
        (f"{MODES}:Echo", {}, "asyncio"),
        (f"{MODES}:echo", {}, "asyncio"),
    ],
)
def test_statistics_say_the_mode_and_count(
    target: str, settings: dict[str, Any], mode: str
) -> None:
    """Accepted, open and finished mean the same in each."""
    with Server(target, workers=1, log_level="critical", **settings) as server:
        for _ in range(3):
            with socket.create_connection(server.addresses[0]) as client:
                assert exchange(client, b"x") == b"x"
        with socket.create_connection(server.addresses[0]) as client:
            assert exchange(client, b"x") == b"x"
            eventually(lambda: server.statistics().open == 1, within=5)
        eventually(lambda: server.statistics().finished == 4, within=5)
        now = server.statistics()
        assert (now.accepted, now.open, now.failed) == (4, 0, 0)
        assert [worker.mode for worker in now.workers] == [mode]


@pytest.mark.parametrize("target", ["fails", "Fails", "FailsAtOnce", "no_protocol"])
def test_failures_are_counted_once(target: str) -> None:
    """A coroutine's and a protocol's, wherever it fails."""
    with Server(f"{MODES}:{target}", workers=1, mode="asyncio", log_level="critical") as server:
        for _ in range(3):
            with socket.create_connection(server.addresses[0], timeout=10) as client:
                with suppress(ConnectionError):
                    client.sendall(b"error")
                    assert client.recv(10) == b""
        eventually(lambda: server.statistics().finished == 3, within=5)
        assert server.statistics().failed == 3


def test_handlers_of_this_program_in_every_mode() -> None:
    """They travel like any handler."""

    async def shout(reader: Any, writer: Any) -> None:
        writer.write((await reader.read(100)).upper())

    def whisper(conn: socket.socket) -> None:
        conn.sendall(conn.recv(100).lower())

    for handler, settings, answer in (
        (shout, {}, b"HELLO"),
        (whisper, {"mode": "greenlets"}, b"hello"),
    ):
        with Server(handler, workers=1, log_level="critical", **settings) as server:
            with socket.create_connection(server.addresses[0], timeout=10) as client:
                assert exchange(client, b"Hello") == answer


def test_a_greenlet_that_blocks_is_named(tmp_path: Path) -> None:
    """The log says which line; sleeping as one must keeps nobody waiting."""
    log = tmp_path / "log"
    for target in ("sleeps", "blocks"):
        arguments = ["-w", "1", "--mode", "greenlets"]
        with serve(f"{MODES}:{target}", *arguments, log=log) as served:
            began = time.monotonic()
            with clients(served, 4) as connected:
                for client in connected:
                    client.sendall(b"x")
                for client in connected:
                    assert client.recv(10) == b"done"
            took = time.monotonic() - began
            if target == "sleeps":
                assert 0.5 <= took < 1.5
                assert "keeps every other" not in served.text
            else:
                assert took >= 2
                line = served.await_log("keeps every other connection of this worker waiting")
                assert f"{MODES}:" in line
                assert line.endswith("time.sleep(0.5)")


def test_ten_thousand_greenlets(tmp_path: Path) -> None:
    """As many idle connections cost a worker little, and all of them still answer."""
    count = 3000  # the benchmark has ten thousand; a test is to be quick
    arguments = ["-w", "1", "--mode", "greenlets", "--connections", "10000"]
    with serve(f"{ECHO}:handle", *arguments, log=tmp_path / "log") as served:
        (worker,) = served.workers()
        with clients(served, 50) as first:
            for client in first:
                assert exchange(client, b"x") == b"x"
            before = _private(worker)
            with clients(served, count) as connected:
                for client in connected:
                    client.sendall(b"x")
                for client in connected:
                    assert client.recv(1) == b"x"
                assert (_private(worker) - before) / count < 12_000
                for client in connected:
                    assert exchange(client, b"y") == b"y"


def _private(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def test_a_worker_imports_its_own_mode_only(tmp_path: Path) -> None:
    """Threads pay for no loop, and greenlets for no asyncio."""
    others = {"asyncio", "uvloop", "uvicorn", "cheroot"}
    for settings, strangers in (([], others | {"greenlet"}), (["--mode", "greenlets"], others)):
        log = tmp_path / "log"
        with serve(f"{ECHO}:modules", "-w", "1", *settings, log=log) as served:
            with served.connect() as client:
                loaded = set(client.makefile("rb").read().decode().split())
        assert not loaded & strangers


# HTTP.


@contextmanager
def serving_http(target: str, *settings: str, log: Path) -> Iterator[tuple[Served, Any]]:
    with serve(f"{MODES}:{target}", "-w", "1", *settings, log=log) as served:
        connection = http.client.HTTPConnection(*served.address, timeout=10)
        yield served, connection
        connection.close()


def ask(connection: http.client.HTTPConnection, path: str, size: int = 0) -> tuple[int, bytes]:
    connection.request("POST", path, body=bytes(size))
    answer = connection.getresponse()
    return answer.status, answer.read()


APPLICATIONS = [
    ("app", ["--asgi"]),
    ("app", ["--asgi", "--loop", "asyncio"]),
    ("wsgi", ["--wsgi"]),
    ("wsgi", ["--wsgi", "--mode", "greenlets"]),
]


@pytest.mark.parametrize(("target", "settings"), APPLICATIONS)
def test_an_application_is_served(target: str, settings: list[str], tmp_path: Path) -> None:
    """Several requests a connection, with bodies; a failing one is answered by 500, and logged."""
    with serving_http(target, *settings, log=tmp_path / "log") as (served, connection):
        (worker,) = served.workers()
        for size in (0, 10, 1_000_000):
            status, body = ask(connection, "/path", size)
            assert status == 200
            assert body.startswith(f"{worker} /path {size}".encode())
        assert ask(connection, "/fails")[0] == 500
        served.await_log("ValueError: the client asked for it")
        connection.close()
        assert ask(connection, "/again")[0] == 200
        connection.close()
        served.send(signal.SIGTERM)
        assert served.wait(7) == 0


def test_an_asgi_application_drains(tmp_path: Path) -> None:
    """What runs is answered, and so is a connection's first request; idle ones are closed."""
    with serving_http("app", "--asgi", log=tmp_path / "log") as (served, idle):
        assert ask(idle, "/idle")[0] == 200
        busy = http.client.HTTPConnection(*served.address, timeout=10)
        busy.request("POST", "/slow")
        new = http.client.HTTPConnection(*served.address, timeout=10)
        new.connect()
        time.sleep(0.1)
        began = time.monotonic()
        served.send(signal.SIGTERM)
        assert busy.getresponse().status == 200
        busy.close()
        assert ask(new, "/first")[0] == 200  # it cannot have known
        new.close()
        assert served.wait(5) == 0
        assert time.monotonic() - began < 4  # a kept connection would have been waited for
        assert "application stopped" in served.text


@pytest.mark.parametrize(("target", "settings"), APPLICATIONS)
def test_who_asks_on_is_told_that_the_worker_drains(
    target: str, settings: list[str], tmp_path: Path
) -> None:
    """With an answer, and no request goes unanswered; nobody waits for the grace period's end."""
    with serving_http(target, *settings, log=tmp_path / "log") as (served, connection):
        assert ask(connection, "/before")[0] == 200
        served.send(signal.SIGTERM)

        def is_told() -> bool:
            connection.request("POST", "/while")
            answer = connection.getresponse()
            assert answer.read()
            told: str = answer.getheader("Connection", "")
            return told == "close"

        eventually(is_told, within=5)
        assert served.wait(5) == 0


def test_websockets(tmp_path: Path) -> None:
    """The connection changes its protocol, and is counted until it ends."""
    from websockets.sync.client import connect

    with serving_http("app", "--asgi", log=tmp_path / "log") as (served, _):
        host, port = served.address
        with connect(f"ws://{host}:{port}/chat", proxy=None) as client:
            for message in ("hello", "x" * 100_000):
                client.send(message)
                assert client.recv(timeout=10) == message
        served.send(signal.SIGTERM)
        assert served.wait(5) == 0


def test_websockets_while_a_worker_drains(tmp_path: Path) -> None:
    """Who talks may do so to the grace period's end, who is silent is let go; both are told."""
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    with serving_http("app", "--asgi", "--graceful-timeout", "8", log=tmp_path / "log") as (
        served,
        _,
    ):
        place = "ws://{}:{}/chat".format(*served.address)
        options: dict[str, Any] = {"proxy": None, "ping_interval": None}
        with (
            connect(place, **options) as leaving,
            connect(place, **options) as silent,
            connect(place, **options) as talking,
        ):
            silent.send("hello")
            assert silent.recv(timeout=10) == "hello"
            served.send(signal.SIGTERM)
            served.await_log("stopping")
            leaving.send("goodbye")
            assert leaving.recv(timeout=10) == "goodbye"
            leaving.close()

            said = list[str]()

            def talk() -> None:
                with pytest.raises(ConnectionClosed, match="1012"):
                    for word in map(str, itertools.count()):
                        talking.send(word)
                        said.append(str(talking.recv(timeout=10)))
                        time.sleep(0.05)

            with ThreadPoolExecutor() as pool:
                talked = pool.submit(talk)
                with pytest.raises(ConnectionClosed, match="1012"):
                    silent.recv(timeout=15)
                assert not talked.done()
            talked.result()
            assert said == list(map(str, range(len(said))))
            assert len(said) > 10
        assert served.wait(5) == 0


def test_an_application_whose_startup_fails(tmp_path: Path) -> None:
    """It is a target that cannot be loaded."""
    with serve(
        f"{MODES}:unready", "--asgi", "-w", "1", log=tmp_path / "log", ready=False
    ) as served:
        assert served.wait() == 4
        assert "no database" in served.text
        assert "its lifespan startup failed" in served.text
