"""Handlers for each mode."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import sys
import time
from typing import Any, cast

import manycore


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what it gets."""
    while data := await reader.read(1000):
        writer.write(data)
        await writer.drain()


async def named(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says which process it is, then sends back what it gets."""
    writer.write(b"%08d" % os.getpid())
    await echo(reader, writer)


async def fails(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Raises what the client names, or sends back what it gets."""
    while data := await reader.read(1000):
        raise_what_is_named(data)
        writer.write(data)


def raise_what_is_named(data: bytes) -> None:
    """As the blocking one does."""
    match data:
        case b"error":
            raise ValueError("the client asked for it")
        case b"exit":
            sys.exit(3)
        case b"interrupt":
            raise KeyboardInterrupt


async def stubborn(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never ends, and says when it is cancelled."""
    writer.write(b"%08d" % os.getpid())
    try:
        await asyncio.sleep(1000)
    finally:
        sys.stderr.write("cancelled\n")
        sys.stderr.flush()


class Echo(asyncio.Protocol):
    """Sends back what it gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


class Named(Echo):
    """The same, after it has said which process it is."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(b"%08d" % os.getpid())


class Fails(Echo):
    """Raises what the client names, or sends back what it gets."""

    def data_received(self, data: bytes) -> None:
        raise_what_is_named(data)
        super().data_received(data)


class FailsAtOnce(asyncio.Protocol):
    """Cannot even begin."""

    def connection_made(self, _transport: asyncio.BaseTransport) -> None:
        raise ValueError("not today")


def no_protocol() -> int:
    """Gives what speaks no protocol."""
    return 42


def blocks(conn: socket.socket) -> None:
    """Sleeps as one must not in a greenlet."""
    conn.recv(1)
    time.sleep(0.5)
    conn.sendall(b"done")


def sleeps(conn: socket.socket) -> None:
    """Sleeps as one must."""
    conn.recv(1)
    manycore.sleep(0.5)
    conn.sendall(b"done")


def says_goodbye(conn: socket.socket) -> None:
    """Waits until the worker drains, and says so."""
    event = manycore.draining_event()
    conn.sendall(b"hello" if not manycore.draining() and not event.wait(0.001) else b"?")
    assert event.wait()
    assert manycore.draining()
    conn.sendall(b"goodbye")


async def says_goodbye_in_asyncio(
    _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """The same."""
    event = manycore.draining_event()
    writer.write(b"hello" if not manycore.draining() and not await event.wait(0.001) else b"?")
    assert await event.wait()
    assert await event.wait(0)
    assert manycore.draining()
    writer.write(b"goodbye")


def selects(conn: socket.socket) -> None:
    """Waits for its client and the end of the worker at once."""
    conn.sendall(b"hello")
    waited_for: list[Any] = [conn, manycore.draining_event()]
    ready, _, _ = select.select(waited_for, [], [])
    conn.sendall(b"goodbye" if ready == waited_for[1:] else b"?")


def pairs(conn: socket.socket) -> None:
    """Sends back what it gets, two bytes at a time."""
    while (first := conn.recv(1)) and (second := conn.recv(1)):
        conn.sendall(first + second)


async def pairs_in_asyncio(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The same."""
    while (first := await reader.read(1)) and (second := await reader.read(1)):
        writer.write(first + second)


def blocking(conn: socket.socket) -> None:
    """Sends back what it gets."""
    while data := conn.recv(1000):
        conn.sendall(data)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application: says who it is, and takes what it is sent; echoes WebSocket messages."""
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["started"] = os.getpid()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        sys.stderr.write("application stopped\n")
        sys.stderr.flush()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
    else:
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        if scope["path"] == "/fails":
            raise ValueError("the client asked for it")
        if scope["path"] == "/slow":
            await asyncio.sleep(0.5)
        body = f"{scope['state']['started']} {scope['path']} {size}".encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def unready(_scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application whose startup fails."""
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """A WSGI application: says who it is, and takes what it is sent."""
    size = len(environ["wsgi.input"].read())
    if environ["PATH_INFO"] == "/fails":
        raise ValueError("the client asked for it")
    manycore.sleep(0.01)
    body = f"{os.getpid()} {environ['PATH_INFO']} {size} {environ['REMOTE_ADDR']}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def whence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says whose connection it is, then sends back what it gets."""
    writer.write(f"{writer.get_extra_info('peername')}\n".encode())
    await echo(reader, writer)


class Whence(Echo):
    """Says whose connection it is, then sends back what it gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(f"{transport.get_extra_info('peername')}\n".encode())
