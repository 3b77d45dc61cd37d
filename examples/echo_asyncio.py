"""An echo server in asyncio: manycore serve echo_asyncio.py:handle, or echo_asyncio.py:Echo."""

import asyncio


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what it gets. The connection is closed when it returns."""
    while data := await reader.read(1000):
        writer.write(data)
        await writer.drain()


class Echo(asyncio.Protocol):
    """The same as a protocol, which is the fastest."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[attr-defined]  # uvloop's is no asyncio.Transport
