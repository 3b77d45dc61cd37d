"""`Server` and `serve`, as a Python program uses them."""

from __future__ import annotations

import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import manycore
from command import TARGETS, children, is_alive
from eventually import eventually
from manycore import BindError, BootError, Server, SettingsError, SupervisorLost, TargetError
from manycore.server.handlers import describe


def echo(conn: socket.socket) -> None:
    while data := conn.recv(1000):
        conn.sendall(data)


def exchange(server: Server, data: bytes) -> bytes:
    with socket.create_connection(server.addresses[0], timeout=10) as client:
        client.sendall(data)
        return client.recv(1000)


def quiet(handler: object, **settings: object) -> Server:
    return Server(handler, **{"workers": 1, "log_level": "critical"} | settings)  # type: ignore[arg-type]


def test_it_serves_while_the_block_runs() -> None:
    """It listens before the first line of the block, and nowhere after the last."""
    with quiet(echo) as server:
        address = server.addresses[0]
        assert exchange(server, b"hello") == b"hello"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_functions_that_cannot_be_imported() -> None:
    """A closure and a lambda are served like any function."""
    greeting = b"hello from here"

    def greet(conn: socket.socket) -> None:
        conn.sendall(greeting)

    def shout(conn: socket.socket) -> None:
        conn.sendall(conn.recv(100).upper())

    for handler, answer in ((greet, greeting), (shout, b"X"), (lambda c: c.sendall(b"l"), b"l")):
        with quiet(handler) as server:
            assert exchange(server, b"x") == answer


def test_a_request_handler_class_that_is_local() -> None:
    """A `socketserver` handler is given its server's address."""

    class Where(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(repr(self.server.server_address).encode())

    with quiet(Where) as server:
        assert exchange(server, b"x") == repr(server.addresses[0]).encode()


def test_a_target_by_name() -> None:
    """A text is a target, as for the command."""
    with quiet(f"{TARGETS}/echo.py:handle") as server:
        assert exchange(server, b"x") == b"x"


def test_a_program_with_threads_can_start_it_from_any_of_them() -> None:
    """Threads of the program are no danger to the workers."""
    answers = []
    done = threading.Event()
    bystander = threading.Thread(target=done.wait)
    bystander.start()

    def run() -> None:
        with quiet(echo) as server:
            answers.append(exchange(server, b"threads"))

    starter = threading.Thread(target=run)
    starter.start()
    starter.join(20)
    done.set()
    bystander.join()
    assert answers == [b"threads"]


def test_several_addresses(tmp_path: Path) -> None:
    """Addresses come in the order in which they were asked for."""
    path = str(tmp_path / "s")
    with quiet(echo, bind=["127.0.0.1:0", f"unix:{path}"]) as server:
        (host, _port), unix = server.addresses
        assert host == "127.0.0.1"
        assert unix == path
    assert not os.path.exists(path)


def test_statistics_count_what_workers_did() -> None:
    """Connections are counted where they were served, and open ones while they are."""

    def fails_on_x(conn: socket.socket) -> None:
        if conn.recv(1) == b"x":
            raise ValueError

    with quiet(fails_on_x, workers=2) as server:
        for data in (b"a", b"b", b"x"):
            assert exchange(server, data) == b""
        with socket.create_connection(server.addresses[0]):
            eventually(lambda: server.statistics().open == 1, within=5)
        eventually(lambda: server.statistics().finished == 4, within=5)
        now = server.statistics()
        assert (now.accepted, now.open, now.failed, now.lost) == (4, 0, 1, 0)
        assert [worker.state for worker in now.workers] == ["ready", "ready"]
        assert len({worker.pid for worker in now.workers}) == 2
        assert all(0 < worker.uptime < 60 for worker in now.workers)


def test_statistics_outlive_a_worker() -> None:
    """What a killed worker had open is counted as lost; what it did stays in the sums."""
    with quiet(echo) as server:
        assert exchange(server, b"1") == b"1"
        eventually(lambda: server.statistics().finished == 1, within=5)
        (victim,) = server.statistics().workers
        with socket.create_connection(server.addresses[0]) as client:
            client.sendall(b"x")
            client.recv(1)
            os.kill(victim.pid, signal.SIGKILL)
            assert client.recv(1) == b""
        assert exchange(server, b"2") == b"2"
        now = server.statistics()
        assert (now.accepted, now.lost) == (3, 1)
        (successor,) = now.workers
        assert (successor.worker, successor.accepted, successor.restarts) == (1, 1, 1)
        assert successor.pid != victim.pid


def test_threads_grow_on_demand_and_idle_ones_retire() -> None:
    """A worker has a thread for each open connection, and none when it has had nothing to do."""
    with quiet(echo) as server:
        clients = [socket.create_connection(server.addresses[0]) for _ in range(10)]
        eventually(lambda: server.statistics().workers[0].threads == 10, within=5)
        for client in clients:
            client.close()
        eventually(lambda: server.statistics().open == 0, within=5)
        eventually(lambda: server.statistics().workers[0].threads == 0, within=8)
        assert exchange(server, b"x") == b"x"


def test_stop_lets_connections_finish() -> None:
    """A client that is being served is served to its end."""
    with quiet(echo) as server, socket.create_connection(server.addresses[0]) as client:
        client.sendall(b"x")
        client.recv(1)
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        client.sendall(b"still served")
        assert client.recv(100) == b"still served"
        client.close()
        stopper.join(5)
        assert not stopper.is_alive()


def test_stop_may_be_called_twice_and_quickly() -> None:
    """The second call has nothing to do; a quick one ends open connections."""
    server = quiet(echo).start()
    with socket.create_connection(server.addresses[0]) as client:
        client.sendall(b"x")
        client.recv(1)
        server.stop(quick=True)
        assert client.recv(1) == b""
    server.stop()


def test_an_error_in_the_block_stops_it_quickly() -> None:
    """The program's own error comes through, without a wait for open connections."""
    client = socket.socket()
    with pytest.raises(KeyError, match="mine"), quiet(echo) as server:
        client.connect(server.addresses[0])
        client.sendall(b"x")
        client.recv(1)
        raise KeyError("mine")
    assert client.recv(1) == b""
    client.close()


def test_it_can_be_started_again() -> None:
    """A server that was stopped starts like a new one; one that runs does not start twice."""
    server = quiet(echo)
    with pytest.raises(RuntimeError, match="is not running"):
        server.statistics()
    for _ in range(2):
        with server:
            assert exchange(server, b"x") == b"x"
            with pytest.raises(RuntimeError, match="is running already"):
                server.start()


def test_repr_shows_its_state() -> None:
    """It says what is served, where, by how many."""
    server = quiet(echo)
    assert repr(server) == f"<Server {describe(echo)}, not running>"
    with server:
        host, port = server.addresses[0]
        assert repr(server) == f"<Server {describe(echo)} on {host}:{port}, 1 workers, 0 open>"


# What can be wrong.


def no_arguments() -> None:
    pass


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (42, "a int cannot be called"),
        (no_arguments, "it must be given 0 arguments"),
        (lambda _: (yield), "it is a generator"),
        ("nope.py:handle", "there is no such file"),
        (f"{TARGETS}/broken.py:handle", "RuntimeError: this module is broken on purpose"),
    ],
)
def test_a_handler_that_is_none(handler: object, said: str) -> None:
    """The error says what is wrong with it, and nothing is left running."""
    with pytest.raises(TargetError, match=said):
        quiet(handler).start()


def test_a_handler_that_cannot_be_sent() -> None:
    """What stands in the way is named, in the program that asked."""
    lock = threading.Lock()

    def locked(conn: socket.socket) -> None:
        with lock:
            echo(conn)

    with pytest.raises(TargetError, match=r"it cannot be sent to a process: .*'_thread.lock'"):
        quiet(locked).start()


def test_workers_that_cannot_boot() -> None:
    """The error says how the last of them ended."""
    with pytest.raises(BootError, match="exited 7 before it was ready"):
        quiet(f"{TARGETS}/dies.py:handle").start()


def test_an_address_in_use() -> None:
    """No other listener stays open."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(BindError, match="address already in use"):
            quiet(echo, bind=["127.0.0.1:0", busy]).start()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"workers": 0}, "workers: 0 is below 1"),
        ({"threads": "many"}, "threads: 'many' is not a whole number"),
        ({"bind": "nowhere"}, "bind: 'nowhere' is no address"),
        ({"bind": []}, "bind: "),
        ({"graceful_timeout": -1}, "graceful_timeout: -1 is not a number of seconds"),
        ({"wokers": 1}, "wokers: there is no such setting"),
    ],
)
def test_a_setting_that_is_wrong(settings: dict[str, object], said: str) -> None:
    """It is refused before anything starts, as a ValueError that names it."""
    with pytest.raises(SettingsError, match=said):
        quiet(echo, **settings)
    assert issubclass(SettingsError, ValueError)


# Who ends with whom.


def test_a_killed_supervisor_is_noticed() -> None:
    """Its workers end with it, and the program is told."""
    server = quiet(echo).start()
    pid = server.pid
    assert pid is not None
    workers = children(pid)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(SupervisorLost, match="was killed by SIGKILL"):
        server.wait(5)
    eventually(lambda: not any(map(is_alive, workers)), within=1)
    with pytest.raises(SupervisorLost, match="was killed by SIGKILL"):
        server.stop()


def test_wait_has_a_timeout() -> None:
    """It says whether the server has ended."""
    with quiet(echo) as server:
        assert not server.wait(0.05)


PROGRAM = """
import socket, sys, threading, time
import manycore

def handle(conn):
    conn.sendall(b"hello")

{body}
"""


def run_program(body: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(body=body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=TARGETS,
    )


SERVER = """
with manycore.Server(handle, workers=2) as server:
    print(server.pid, *(worker.pid for worker in server.statistics().workers), flush=True)
    time.sleep(1000)
"""


def test_a_server_ends_with_a_killed_program() -> None:
    """Kill -9 of the program leaves no supervisor and no worker."""
    with run_program(SERVER) as program:
        assert program.stdout is not None
        pids = [int(word) for word in program.stdout.readline().split()]
        assert all(map(is_alive, pids))
        program.kill()
        eventually(lambda: not any(map(is_alive, pids)), within=2)


def test_ctrl_c_in_the_program_stops_its_server() -> None:
    """The program's KeyboardInterrupt is the only traceback."""
    with run_program(SERVER) as program:
        assert program.stdout is not None
        pids = [int(word) for word in program.stdout.readline().split()]
        program.send_signal(signal.SIGINT)
        said = program.communicate(timeout=10)[1]
        assert said.count("Traceback") == 1
        assert said.rstrip().endswith("KeyboardInterrupt")
        assert not any(map(is_alive, pids))


def await_ready(program: subprocess.Popen[str]) -> tuple[str, int]:
    assert program.stderr is not None
    for line in program.stderr:
        if "ready: " in line:
            host, _, port = line.split(" on ")[1].split(",")[0].partition(":")
            return host, int(port)
    raise AssertionError("it ended before it was ready")


LOCKED = """
lock = threading.Lock()  # a global that cannot be copied

def locked(conn):
    with lock:
        handle(conn)

manycore.serve(locked, "127.0.0.1:0", workers=2, threads=64)
print("after")
"""

THREADED = """
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
manycore.serve(handle, "127.0.0.1:0", workers=2, threads=64)
print("after")
"""

IN_A_THREAD = """
thread = threading.Thread(target=manycore.serve, args=(handle, "127.0.0.1:0"), daemon=True)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("body", [LOCKED, THREADED])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_serve_blocks_until_it_is_told_to_stop(body: str, signum: signal.Signals) -> None:
    """With threads and without, a signal to the program stops the server, and `serve` returns."""
    with run_program(body) as program:
        with socket.create_connection(await_ready(program)) as client:
            assert client.recv(10) == b"hello"
        program.send_signal(signum)
        said, complaints = program.communicate(timeout=10)
        assert said == "after\n"
        assert "Traceback" not in complaints
        assert program.returncode == 0


def test_serve_in_a_thread_ends_with_the_program() -> None:
    """A thread cannot take signals; the server ends with its program all the same."""
    with run_program(IN_A_THREAD) as program:
        with socket.create_connection(await_ready(program)) as client:
            assert client.recv(10) == b"hello"
        workers = children(children(program.pid)[0])
        assert workers
        program.terminate()
        program.communicate(timeout=10)
        eventually(lambda: not any(map(is_alive, workers)), within=2)


def test_serve_says_what_is_wrong() -> None:
    """Errors are the same as the command's, as exceptions."""
    cases: list[tuple[Callable[[], None], type[Exception]]] = [
        (lambda: manycore.serve(42), TargetError),
        (lambda: manycore.serve(echo, "nowhere"), SettingsError),
        (lambda: manycore.serve(echo, "192.0.2.1:1"), BindError),
    ]
    for call, error in cases:
        with pytest.raises(error):
            call()
