"""Echoes and web applications that say which process serves, for what is measured in every mode."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from echo import Echo
from echo import named as handle

__all__ = ["Named", "asgi", "handle", "streams", "wsgi"]


class Named(Echo):
    """Says which process it is, then sends back what it gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(b"%08d" % os.getpid())  # type: ignore[attr-defined]  # uvloop's is no asyncio.Transport


async def streams(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Does the same."""
    writer.write(b"%08d" % os.getpid())
    while data := await reader.read(1000):
        writer.write(data)


async def asgi(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Any]
) -> None:
    """Answers, after as many seconds as were asked for, which process it is."""
    if scope["type"] != "http":
        return
    await receive()
    await asyncio.sleep(_seconds(scope["query_string"].decode()))
    headers = [(b"content-length", b"8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"%08d" % os.getpid()})


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Does the same."""
    time.sleep(_seconds(environ["QUERY_STRING"]))
    start_response("200 OK", [("Content-Length", "8")])
    return [b"%08d" % os.getpid()]


def _seconds(query: str) -> float:
    return float(parse_qs(query).get("seconds", ["0"])[0])
