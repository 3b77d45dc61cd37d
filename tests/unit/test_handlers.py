"""Every form of handler, called over a connection, and every form that is none."""

from __future__ import annotations

import functools
import os
import socket
import socketserver
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from manycore.errors import ExitCode, TargetError
from manycore.server.handlers import FORMS, adapt, describe

PEER = ("192.0.2.1", 4711)
SERVER = ("127.0.0.1", 8000)


def text(address: object) -> bytes:
    return repr(address).encode()


def one(conn: socket.socket) -> None:
    conn.sendall(b"one")


def two(conn: socket.socket, address: object) -> None:
    conn.sendall(text(address))


def positional_only(conn: socket.socket, address: object, /) -> None:
    conn.sendall(text(address))


def all_defaults(conn: socket.socket | None = None, address: object = "default") -> None:
    assert conn is not None
    conn.sendall(text(address))


def address_default(conn: socket.socket, address: object = "default") -> None:
    conn.sendall(text(address))


def two_and_default(conn: socket.socket, address: object, greeting: bytes = b"hi") -> None:
    conn.sendall(greeting + text(address))


def keyword_default(conn: socket.socket, *, greeting: bytes = b"hi") -> None:
    conn.sendall(greeting)


def any_arguments(*args: Any, **kwargs: Any) -> None:
    args[0].sendall(text((len(args), kwargs)))


def one_and_any(conn: socket.socket, *args: object) -> None:
    conn.sendall(text(args))


def two_and_any(conn: socket.socket, address: object, *args: object) -> None:
    conn.sendall(text((address, *args)))


def greet(greeting: bytes, conn: socket.socket) -> None:
    conn.sendall(greeting)


def greet_peer(greeting: bytes, conn: socket.socket, address: object) -> None:
    conn.sendall(greeting + text(address))


class Service:
    def one(self, conn: socket.socket) -> None:
        conn.sendall(b"method")

    def two(self, conn: socket.socket, address: object) -> None:
        conn.sendall(text(address))

    @staticmethod
    def static(conn: socket.socket) -> None:
        conn.sendall(b"static")

    @classmethod
    def of_class(cls, conn: socket.socket) -> None:
        conn.sendall(cls.__name__.encode())


class Callable1:
    def __call__(self, conn: socket.socket) -> None:
        conn.sendall(b"called")


class Callable2:
    def __call__(self, conn: socket.socket, address: object) -> None:
        conn.sendall(text(address))


class Made:
    """A class whose making is the handling."""

    def __init__(self, conn: socket.socket) -> None:
        conn.sendall(b"made")


class Made2:
    def __init__(self, conn: socket.socket, address: object) -> None:
        conn.sendall(text(address))


class MadeToAwait:
    """Making it is the handling; that its objects can be awaited is nobody's business."""

    def __init__(self, conn: socket.socket) -> None:
        conn.sendall(b"made")

    async def __call__(self) -> None: ...


class Request(socketserver.BaseRequestHandler):
    def setup(self) -> None:
        self.request.sendall(b"setup ")

    def handle(self) -> None:
        self.request.sendall(text((self.client_address, self.server.server_address)))

    def finish(self) -> None:
        self.request.sendall(b" finish")


class Stream(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.readline().upper() + text(self.client_address))


@functools.wraps(one)
def wrapped(*args: Any, **kwargs: Any) -> None:
    one(*args, **kwargs)


ACCEPTED: list[tuple[str, object, bytes]] = [
    ("function", one, b"one"),
    ("function-with-address", two, text(PEER)),
    ("positional-only", positional_only, text(PEER)),
    ("all-defaults", all_defaults, b"'default'"),
    ("address-default", address_default, b"'default'"),
    ("third-default", two_and_default, b"hi" + text(PEER)),
    ("keyword-default", keyword_default, b"hi"),
    ("any-arguments", any_arguments, text((1, {}))),
    ("one-and-any", one_and_any, b"()"),
    ("two-and-any", two_and_any, text((PEER,))),
    ("wrapped", wrapped, b"one"),
    ("partial", functools.partial(greet, b"hello"), b"hello"),
    ("partial-with-address", functools.partial(greet_peer, b"hello "), b"hello " + text(PEER)),
    ("partial-by-name", functools.partial(two, address="bound"), b"'bound'"),
    ("method", Service().one, b"method"),
    ("method-with-address", Service().two, text(PEER)),
    ("static-method", Service.static, b"static"),
    ("class-method", Service.of_class, b"Service"),
    ("object", Callable1(), b"called"),
    ("object-with-address", Callable2(), text(PEER)),
    ("class", Made, b"made"),
    ("class-with-address", Made2, text(PEER)),
    ("class-with-coroutine", MadeToAwait, b"made"),
    ("lambda", lambda conn: conn.sendall(b"lambda"), b"lambda"),
    ("lambda-with-address", lambda conn, address: conn.sendall(text(address)), text(PEER)),
    ("request-handler", Request, b"setup " + text((PEER, SERVER)) + b" finish"),
    ("stream-handler", Stream, b"A LINE\n" + text(PEER)),
]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's end and the client's."""
    server, client = socket.socketpair()
    with server, client:
        client.settimeout(5)
        server.settimeout(5)
        yield server, client


@pytest.mark.parametrize(
    ("target", "answer"),
    [pytest.param(target, answer, id=name) for name, target, answer in ACCEPTED],
)
def test_what_can_be_called_serves(
    ends: tuple[socket.socket, socket.socket], target: object, answer: bytes
) -> None:
    """Given a connection, and the peer's address if it must have that, each form answers."""
    server, client = ends
    client.sendall(b"a line\n")
    adapt(target, "app:handle", SERVER)(server, PEER)
    server.shutdown(socket.SHUT_WR)
    with client.makefile("rb") as answered:
        assert answered.read() == answer


def test_a_builtin_serves(ends: tuple[socket.socket, socket.socket]) -> None:
    """What is written in C is given the connection, whatever its signature tells."""
    server, client = ends
    seen: list[socket.socket] = []
    adapt(seen.append, "app:handle", SERVER)(server, PEER)
    assert seen == [server]
    adapt(type, "app:handle", SERVER)(server, PEER)  # it has no signature
    fd = client.fileno()
    adapt(socket.socket.detach, "app:handle", SERVER)(client, PEER)
    assert client.fileno() == -1
    os.close(fd)


def test_what_a_handler_raises_comes_through(ends: tuple[socket.socket, socket.socket]) -> None:
    """Adapting hides no failure."""

    def fail(conn: socket.socket) -> None:
        raise LookupError(conn.fileno())

    with pytest.raises(LookupError):
        adapt(fail, "app:handle", SERVER)(ends[0], PEER)


def nothing() -> None: ...


def only_keywords(**kwargs: object) -> None: ...


def needs_keyword(conn: socket.socket, *, secret: str) -> None: ...


def three(conn: socket.socket, address: object, server: object) -> None: ...


async def coroutine(conn: socket.socket) -> None: ...


async def greeting_coroutine(greeting: bytes, conn: socket.socket) -> None: ...


async def async_generator(_conn: socket.socket) -> AsyncIterator[bytes]:
    yield b""


def generator(_conn: socket.socket) -> Iterator[bytes]:
    yield b""


class AsyncService:
    async def handle(self, conn: socket.socket) -> None: ...

    async def __call__(self, conn: socket.socket) -> None: ...


class GeneratorService:
    def __call__(self, _conn: socket.socket) -> Iterator[bytes]:
        yield b""


class MadeOfNothing: ...


class Datagram(socketserver.DatagramRequestHandler): ...


COROUTINE = ("it is a coroutine function", "write a plain function (def), or choose mode asyncio")
GENERATOR = ("it is a generator: calling it runs nothing", FORMS)

REFUSED: list[tuple[str, object, tuple[str, str]]] = [
    ("none", None, ("a NoneType cannot be called", FORMS)),
    ("number", 3, ("a int cannot be called", FORMS)),
    ("module", socket, ("a module cannot be called", FORMS)),
    ("object", MadeOfNothing(), ("a MadeOfNothing cannot be called", FORMS)),
    ("no-arguments", nothing, ("it must be given 0 arguments", FORMS)),
    ("only-keywords", only_keywords, ("it must be given 0 arguments", FORMS)),
    ("class-of-no-arguments", MadeOfNothing, ("it must be given 0 arguments", FORMS)),
    ("needs-keyword", needs_keyword, ("it must be given keyword arguments", FORMS)),
    ("three", three, ("it must be given 3 arguments", FORMS)),
    ("unbound-method", Service.two, ("it must be given 3 arguments", FORMS)),
    ("full-partial", functools.partial(ord, "a"), ("it must be given 0 arguments", FORMS)),
    ("coroutine", coroutine, COROUTINE),
    ("coroutine-method", AsyncService().handle, COROUTINE),
    ("coroutine-object", AsyncService(), COROUTINE),
    ("coroutine-partial", functools.partial(greeting_coroutine, b"hi"), COROUTINE),
    ("async-generator", async_generator, COROUTINE),
    ("generator", generator, GENERATOR),
    ("generator-object", GeneratorService(), GENERATOR),
    ("generator-partial", functools.partial(generator), GENERATOR),
    ("datagrams", Datagram, ("it handles datagrams, not connections", FORMS)),
]


@pytest.mark.parametrize(
    ("target", "facts"), [pytest.param(target, facts, id=name) for name, target, facts in REFUSED]
)
def test_what_is_no_handler_is_refused(target: object, facts: tuple[str, str]) -> None:
    """Before any client comes, with what is wrong and what to write."""
    with pytest.raises(TargetError) as caught:
        adapt(target, "app:handle", SERVER)
    problem, remedy = facts
    assert str(caught.value) == f"app:handle: {problem}; {remedy}"
    assert caught.value.exit_code is ExitCode.TARGET_FAILED


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (one, "one"),
        (Service.two, "Service.two"),
        (Service().one, "Service.one"),
        (Made, "Made"),
        (Callable1(), "Callable1"),
    ],
)
def test_a_target_is_named_after_its_definition(target: Callable[..., object], name: str) -> None:
    """People find it by its module and name; an object by its class."""
    assert describe(target) == f"{__name__}.{name}"


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (print, "builtins.print"),
        (functools.partial(one), "functools.partial"),
        (3, "builtins.int"),
        (str.upper, "str.upper"),
    ],
)
def test_a_target_of_somebody_elses_is_named_too(target: object, name: str) -> None:
    """Whatever is passed gets some name: it is needed to say what is wrong with it."""
    assert describe(target).endswith(name)
