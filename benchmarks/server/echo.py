"""What the servers here serve."""

import asyncio
import os
import socket


def handle(conn: socket.socket) -> None:
    """Sends back what it gets."""
    while data := conn.recv(1000):
        conn.sendall(data)


def named(conn: socket.socket) -> None:
    """The same, after it has said which process it is."""
    conn.sendall(b"%08d" % os.getpid())
    handle(conn)


class Echo(asyncio.Protocol):
    """Sends back what it gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps what it answers by."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers."""
        self.transport.write(data)  # type: ignore[attr-defined]  # uvloop's is no asyncio.Transport


async def streams(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what it gets."""
    while data := await reader.read(1000):
        writer.write(data)
