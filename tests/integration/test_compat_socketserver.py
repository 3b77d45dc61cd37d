"""Programs written for `socketserver` run with the import changed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventually import eventually
from manycore import TargetError
from manycore.compat import socketserver

EXAMPLES = Path(__file__).parents[2] / "examples"


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(1000):
            self.request.sendall(data)


class Whoami(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(str(os.getpid()).encode())


class Ends(socketserver.BaseRequestHandler):
    """Ends the server from inside, as programs do."""

    def handle(self) -> None:
        threading.Thread(target=self.server.shutdown).start()
        self.request.sendall(b"bye")


class Fails(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        raise ValueError("as it should")


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[Any]:
    """Serves in a thread while the block runs."""
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address
        finally:
            server.shutdown()
            thread.join()


def exchange(address: Any, data: bytes = b"x") -> bytes:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(10)
        client.connect(address)
        client.sendall(data)
        return client.recv(1000)


KINDS = [
    socketserver.TCPServer,
    socketserver.ThreadingTCPServer,
    socketserver.ForkingTCPServer,
]


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind: type[socketserver.TCPServer]) -> None:
    """Each kind serves, and `shutdown` from another thread ends it."""
    with serving(kind(("127.0.0.1", 0), Echo)) as address:
        for _ in range(3):
            assert exchange(address, b"hello") == b"hello"


def test_unix_sockets(tmp_path: Path) -> None:
    """A Unix socket is served."""
    with serving(socketserver.ThreadingUnixStreamServer(str(tmp_path / "s"), Echo)) as address:
        assert exchange(address, b"hello") == b"hello"


def test_every_core() -> None:
    """Threads are spread over several processes; the plain server has one."""

    class Two(socketserver.ThreadingTCPServer):
        workers = 2

    with serving(Two(("127.0.0.1", 0), Whoami)) as address:
        seen: set[bytes] = set()

        def both() -> bool:
            seen.add(exchange(address))
            return len(seen) == 2

        eventually(both, within=10)
    with serving(socketserver.TCPServer(("127.0.0.1", 0), Whoami)) as address:
        assert len({exchange(address) for _ in range(5)}) == 1


def test_forking() -> None:
    """Each connection has a process of its own."""
    with serving(socketserver.ForkingTCPServer(("127.0.0.1", 0), Whoami)) as address:
        assert len({exchange(address) for _ in range(5)}) == 5


def test_overrides() -> None:
    """What a program overrides is called, in the worker, with the server's attributes."""

    class Picky(socketserver.ThreadingTCPServer):
        greeting = b""

        def get_request(self) -> Any:
            request, address = super().get_request()
            request.sendall(self.greeting)
            return request, address

        def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
            return bool(request.recv(1) == b"y")

        def finish_request(self, request: Any, client_address: Any) -> None:
            request.sendall(b"in")
            super().finish_request(request, client_address)

    server = Picky(("127.0.0.1", 0), Echo)
    server.greeting = b"hello "
    with serving(server) as address:
        for said, heard in ((b"y", b"hello in"), (b"n", b"hello ")):
            with socket.create_connection(address, timeout=10) as client:
                client.sendall(said)
                client.shutdown(socket.SHUT_WR)
                assert client.makefile("rb").read() == heard


def test_a_process_request_that_hands_over() -> None:
    """A program that handles connections in threads of its own keeps them until it closes them."""

    class Own(socketserver.ThreadingTCPServer):
        def process_request(self, request: Any, client_address: Any) -> None:
            threading.Thread(
                target=self.process_request_thread, args=(request, client_address)
            ).start()

    with serving(Own(("127.0.0.1", 0), Echo)) as address:
        with socket.create_connection(address, timeout=10) as client:
            for _ in range(3):
                client.sendall(b"hello")
                assert client.recv(100) == b"hello"


def test_errors(tmp_path: Path) -> None:
    """`handle_error` is called where a handler raises."""
    found = tmp_path / "found"

    class Telling(socketserver.ThreadingTCPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
            found.write_text(repr(sys.exc_info()[1]))

    with serving(Telling(("127.0.0.1", 0), Fails)) as address:
        assert exchange(address) == b""
    assert found.read_text() == "ValueError('as it should')"


def test_a_handler_ends_the_server() -> None:
    """`self.server.shutdown()` in a handler ends `serve_forever`."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Ends) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert exchange(server.server_address) == b"bye"
        thread.join(20)
        assert not thread.is_alive()


def test_a_stop_before_the_start() -> None:
    """A `shutdown` that comes before `serve_forever` has begun is not lost, and does not hang."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.shutdown()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()


def test_what_cannot_be_copied() -> None:
    """A server that cannot be sent to a process says so, and what to do."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo)
    server.lock = threading.Lock()  # type: ignore[attr-defined]
    problems = []

    def serve() -> None:
        with pytest.raises(TargetError) as problem:
            server.serve_forever()
        problems.append(str(problem.value))

    with server:
        thread = threading.Thread(target=serve)
        thread.start()
        thread.join()
    assert "cannot pickle '_thread.lock' object" in problems[0]
    assert "call serve_forever() in the main thread" in problems[0]


def test_datagrams() -> None:
    """They are refused, and the error says where they are served."""
    with pytest.raises(TargetError, match=r"datagrams are no connections.*standard library"):
        socketserver.ThreadingUDPServer(("127.0.0.1", 0), Echo)


@pytest.mark.parametrize("at_once", [1000])
def test_a_program(at_once: int) -> None:
    """The example serves 1,000 clients at once, and ends well by a signal."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "socketserver_echo.py"), "0"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process, process.stdout:
        try:
            address = ("127.0.0.1", int(process.stdout.readline()))
            with ExitStack() as clients:
                conns = [
                    clients.enter_context(socket.create_connection(address, timeout=30))
                    for _ in range(at_once)
                ]
                for number, conn in enumerate(conns):
                    conn.sendall(b"%d" % number)
                for number, conn in enumerate(conns):
                    assert conn.recv(100) == b"%d" % number
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
