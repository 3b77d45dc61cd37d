"""An ASGI application's clients that ask and ask and never wait for an answer."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from manycore.server.modes.pacing import SLICE, paced

REQUEST = b"GET /%06d HTTP/1.1\r\nHost: x\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that keeps what is written, and whether it may be read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.reads = True
        self.closed = False
        self.protocol: Any = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in {"peername", "sockname"} else default

    def get_protocol(self) -> Any:
        return self.protocol

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True


class Application:
    """Says which path was asked for, once it may; takes bodies a piece at a time."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.paths: list[str] = []
        self.bytes = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        more = True
        while more:
            message = await receive()
            self.bytes += len(message["body"])
            more = message["more_body"]
        await self.may_answer.wait()
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


def connect(original: type, application: Application) -> tuple[Any, Wire]:
    config = Config(application, lifespan="off", log_config=None, timeout_keep_alive=1000)
    config.load()
    protocol = paced(original)(config=config, server_state=ServerState(), app_state={})
    wire = Wire()
    wire.protocol = protocol
    protocol.connection_made(wire)
    return protocol, wire


async def send_all(wire: Wire, data: bytes, most: int) -> None:
    """Sends as a kernel does: as much as is there, whenever the other side reads."""
    parts = [data[at : at + most] for at in range(0, len(data), most)]
    for part in parts:
        while not wire.reads:  # noqa: ASYNC110  # a turn of the loop is what it waits for
            await asyncio.sleep(0)
        wire.protocol.data_received(part)


@pytest.fixture(params=[HttpToolsProtocol, H11Protocol])
def original(request: pytest.FixtureRequest) -> type:
    return request.param  # type: ignore[no-any-return]


def test_no_more_is_parsed_than_a_slice_ahead(original: type) -> None:
    """What a client sends beyond that stays as it is, also while others are answered."""

    async def flood() -> None:
        application = Application()
        protocol, wire = connect(original, application)
        protocol.data_received(REQUEST % 0 * 8000)
        await asyncio.sleep(0)
        most = SLICE // len(REQUEST % 0) + 1
        assert not wire.reads
        assert len(getattr(protocol, "pipeline", ())) <= most
        application.may_answer.set()
        for _ in range(3 * most):  # turns of the loop: some hundreds of answers
            await asyncio.sleep(0)
            assert not wire.reads
            assert len(getattr(protocol, "pipeline", ())) <= most

    asyncio.run(flood())


@pytest.mark.parametrize("most", [7, 1000, 256_000])
def test_every_request_is_answered_in_its_order(original: type, most: int) -> None:
    """However the bytes arrive; a large body among them too."""
    body = b"x" * 300_000
    post = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    first, last = (b"".join(REQUEST % n for n in range(at, at + 900)) for at in (0, 900))

    async def converse() -> tuple[Application, Wire]:
        application = Application()
        application.may_answer.set()
        _, wire = connect(original, application)
        await send_all(wire, first + post + body + last, most)
        for _ in itertools.takewhile(lambda _: wire.written.count(b"ok") < 1801, range(100_000)):
            await asyncio.sleep(0)
        return application, wire

    application, wire = asyncio.run(converse())
    numbers = [f"/{n:06d}" for n in range(1800)]
    assert application.paths == [*numbers[:900], "/body", *numbers[900:]]
    assert application.bytes == len(body)
    assert wire.written.count(b"HTTP/1.1 200 OK") == 1801
    assert wire.reads


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("beginning", "more"),
    [
        (b"GET /", b"a" * 1000),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"a" * 1000),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"a" * 1000),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n" * 200),
        (CHUNKED + b"5;", b"a" * 1000),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", b"X: y\r\n" * 200),
    ],
    ids=["url", "name", "value", "headers", "extension", "trailers"],
)
def test_what_never_ends_is_cut_off(original: type, beginning: bytes, more: bytes) -> None:
    """A request's head, or its trailers, may not grow for ever."""

    async def go_on() -> tuple[int, Wire]:
        _, wire = connect(original, Application())
        wire.protocol.data_received(beginning)
        sent = 0
        while not wire.closed and wire.reads and sent < 300_000:
            wire.protocol.data_received(more)
            sent += len(more)
            await asyncio.sleep(0)
        return sent, wire

    sent, wire = asyncio.run(go_on())
    assert sent < 100_000
    assert wire.closed or not wire.reads
    if not beginning.startswith(CHUNKED):
        assert wire.written.startswith(b"HTTP/1.1 400 ")


def test_a_long_body_in_small_pieces_is_no_such_thing(original: type) -> None:
    """Nor are heads that are long, but end."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nX: %s\r\nContent-Length: 500000\r\n\r\n" % (
        b"a" * 10_000
    )

    async def upload() -> tuple[Application, Wire]:
        application = Application()
        application.may_answer.set()
        _, wire = connect(original, application)
        for _ in range(3):
            await send_all(wire, head + b"x" * 500_000, 4000)
        for _ in itertools.takewhile(lambda _: wire.written.count(b"ok") < 3, range(100_000)):
            await asyncio.sleep(0)
        return application, wire

    application, wire = asyncio.run(upload())
    assert application.bytes == 1_500_000
    assert wire.written.count(b"HTTP/1.1 200 OK") == 3
