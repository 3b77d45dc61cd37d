"""The smallest web applications, for what is measured in every mode."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

BODY = b"hello"


async def asgi(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Any]
) -> None:
    """Answers each request with the same five bytes."""
    if scope["type"] != "http":
        return
    await receive()
    length = [(b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": BODY})


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:  # noqa: ARG001
    """Does the same."""
    start_response("200 OK", [("Content-Length", str(len(BODY)))])
    return [BODY]
