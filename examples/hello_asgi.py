"""An ASGI application: manycore serve --asgi hello_asgi.py:app."""

import os
from typing import Any


async def app(scope: Any, _receive: Any, send: Any) -> None:
    """Says which worker answers."""
    assert scope["type"] == "http"
    body = f"hello from {os.getpid()}\n".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
