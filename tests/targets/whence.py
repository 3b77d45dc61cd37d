"""Applications that say how they were reached, and by whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application."""
    if scope["type"] != "http":
        raise NotImplementedError
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    body = f"{scope['scheme']} {scope['client'][0]}".encode()
    await send({"type": "http.response.body", "body": body})


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """A WSGI application."""
    body = f"{environ['wsgi.url_scheme']} {environ['REMOTE_ADDR']}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
