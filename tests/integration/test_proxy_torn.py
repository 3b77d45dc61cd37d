"""PROXY headers in pieces, cut off, made up and from strangers, at a real server in every mode."""

from __future__ import annotations

import json
import random
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from command import TARGETS, Served, run, serve
from eventually import eventually
from manycore.server.proxy import SIGNATURE

ECHO, MODES = TARGETS / "echo.py", TARGETS / "modes.py"
WAYS: dict[str, tuple[str, list[str]]] = {
    "threads": (f"{ECHO}:whence", []),
    "greenlets": (f"{ECHO}:whence", ["--mode", "greenlets"]),
    "streams": (f"{MODES}:whence", []),
    "protocol": (f"{MODES}:Whence", []),
    "streams on asyncio's loop": (f"{MODES}:whence", ["--loop", "asyncio"]),
}


def two(kind: int, body: bytes) -> bytes:
    return SIGNATURE + bytes([0x21, kind]) + struct.pack("!H", len(body)) + body


V4 = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + struct.pack("!HH", 4711, 443)
V6 = bytes.fromhex("20010db8" + "00" * 11 + "07") * 2 + struct.pack("!HH", 4711, 443)
#: headers, and whom they name
HEADERS = {
    "version 1, IPv4": (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n", "192.0.2.7"),
    "version 1, IPv6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", "2001:db8::7"),
    "version 1, nobody": (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    "version 2, IPv4": (two(0x11, V4), "192.0.2.7"),
    "version 2, IPv6 and more": (two(0x21, V6 + b"\x04\x00\x03abc"), "2001:db8::7"),
    "version 2, nobody": (SIGNATURE + b"\x20\x00\x00\x00", "127.0.0.1"),
}


class Proxied:
    """A server behind a proxy, and what is found of it from outside."""

    def __init__(self, served: Served, stack: ExitStack) -> None:
        self._served = served
        self._stack = stack
        self._workers = served.workers()

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """Connects somebody who is trusted, or who is not."""
        client = socket.create_connection(self._served.address, 20, (source, 0))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._stack.enter_context(client)

    def open(self) -> int:
        """How many connections it has open."""
        status: dict[str, Any] = json.loads(run("status", "-n", "torn", "-j").stdout)
        return int(status["statistics"]["open"])

    def is_sound(self) -> None:
        """It serves, with the workers that it began with, and has nobody left."""
        for _ in range(4):
            with self.connect() as client:
                client.sendall(b"PROXY UNKNOWN\r\nhello")
                assert answer(client).endswith(b"\nhello")
        eventually(lambda: self.open() == 0, within=20, what=lambda: f"{self.open()} are open")
        assert self._served.workers() == self._workers
        assert "Traceback" not in self._served.text


@pytest.fixture(params=WAYS)
def proxied(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Proxied]:
    target, settings = WAYS[request.param]
    more = ["-w", "2", "-n", "torn", "--proxy-protocol", "--proxy-from", "127.0.0.1"]
    more += ["--handshake-timeout", "3", *settings]
    with serve(target, *more, log=tmp_path / "log") as served, ExitStack() as stack:
        proxied = Proxied(served, stack)
        yield proxied
        proxied.is_sound()


def answer(client: socket.socket) -> bytes:
    """Reads the line that names the client, and the echo behind it."""
    read = b""
    while not read.endswith(b"hello"):
        chunk = client.recv(100)
        assert chunk, read
        read += chunk
    return read


def is_disconnected(client: socket.socket) -> bool:
    with suppress(ConnectionError):
        return client.recv(100) == b""
    return True


def reset(client: socket.socket) -> None:
    """Leaves without a word."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_a_header_in_two_pieces(proxied: Proxied) -> None:
    """Wherever it is torn, its client is served under its name, from the first byte on."""
    for header, name in HEADERS.values():
        clients = [proxied.connect() for _ in range(len(header) + 1)]
        for at, client in enumerate(clients):
            client.sendall(header[:at])
        for at, client in enumerate(clients):
            client.sendall(header[at:] + b"hello")
        for client in clients:
            said = answer(client)
            assert said.startswith(f"('{name}', ".encode()), said
            client.close()


@pytest.mark.parametrize("leave", [lambda client: client.shutdown(socket.SHUT_WR), reset])
def test_a_header_that_is_cut_off(proxied: Proxied, leave: Callable[[socket.socket], None]) -> None:
    """Wherever its client leaves: politely, and it is disconnected too, or without a word."""
    for header, _ in HEADERS.values():
        clients = [proxied.connect() for _ in range(len(header))]
        for at, client in enumerate(clients):
            client.sendall(header[:at])
        for client in clients:
            leave(client)
        for client in clients:
            assert client.fileno() < 0 or is_disconnected(client)


def test_a_header_that_never_ends(proxied: Proxied) -> None:
    """Its time is over: one client a byte of each header, all at once."""
    clients = []
    for header, _ in HEADERS.values():
        for at in range(len(header)):
            clients.append(proxied.connect())
            clients[-1].sendall(header[:at])
    for client in clients:
        assert is_disconnected(client)


def made_up(chance: random.Random) -> bytes:
    """Bytes that are no header, or look like one, or are one."""
    noise = chance.randbytes(chance.choice([1, 5, 16, 60, 300, 5000]))
    header = chance.choice(list(HEADERS.values()))[0]
    at = chance.randrange(len(header))
    return chance.choice(
        [
            noise,
            b"PROXY " + noise,
            b"PROXY TCP4 " + bytes(chance.choices(b"0123456789. \r\n", k=60)),
            SIGNATURE + noise,
            SIGNATURE + b"\x21\x11" + noise,
            header[:at] + chance.randbytes(1) + header[at + 1 :] + noise,
            header[:at] + noise,
        ]
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_headers_that_are_made_up(proxied: Proxied, seed: int) -> None:
    """Each client is served or disconnected, whether it goes on sending or leaves."""
    chance = random.Random(seed)
    for _ in range(3):
        clients = [proxied.connect() for _ in range(50)]
        for client in clients:
            data = made_up(chance)
            at = chance.randrange(len(data) + 1)
            with suppress(OSError):  # what came first was enough
                client.sendall(data[:at])
                client.sendall(data[at:])
                client.shutdown(socket.SHUT_WR)
        for client in clients:
            while not is_disconnected(client):  # it is echoed what it sent behind a good header
                pass


def test_strangers(proxied: Proxied) -> None:
    """Good headers, bad ones and none: whoever is not trusted is disconnected at once."""
    chance = random.Random(3)
    sent = [header for header, _ in HEADERS.values()] + [made_up(chance) for _ in range(40)] + [b""]
    for data in sent:
        client = proxied.connect("127.0.0.2")
        with suppress(ConnectionError):
            client.sendall(data)
        assert is_disconnected(client)
