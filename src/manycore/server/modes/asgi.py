"""An ASGI application, spoken to by uvicorn's protocols. One lifespan a worker."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any, Final

from uvicorn import Config
from uvicorn.server import ServerState

from manycore.errors import TargetError
from manycore.server.draining import draining

from .pacing import paced
from .speaking import Connection, Speaker

log = logging.getLogger("manycore.server")

#: seconds, from and to, that a connection may be idle while we drain: who asks in turn goes on
#: within the first, and is told with the answer; not all others come back at the same moment
PATIENCE: Final = (1.0, 2.0)


class _Headers(ServerState):
    """What uvicorn's protocols share; the date is made when it is asked for, not every second."""

    def __init__(self) -> None:
        self._second = 0
        self._headers: list[tuple[bytes, bytes]] = []
        super().__init__()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """What is sent with every answer."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._headers = [(b"date", formatdate(second, usegmt=True).encode())]
        return self._headers

    @default_headers.setter
    def default_headers(self, headers: list[tuple[bytes, bytes]]) -> None: ...


class Asgi(Speaker):
    """Serves an ASGI application over HTTP, and WebSocket where a library for it is installed.

    Args:
        application: What is served.
        name: What to call it in an error.
    """

    def __init__(self, application: Any, name: str) -> None:
        self._name = name
        self._config = Config(application, log_config=None, access_log=False, server_header=False)
        self._state = _Headers()

    async def start(self, failed: Callable[[], None]) -> None:
        """Loads the application and runs its lifespan's startup."""
        await super().start(failed)
        self._config.load()
        self._protocol = paced(self._config.http_protocol_class)
        self._lifespan = self._config.lifespan_class(self._config)
        self._config.loaded_app = _saying_goodbye(self._config.loaded_app)
        await self._lifespan.startup()
        if self._lifespan.should_exit:
            problem = "its lifespan startup failed"
            raise TargetError(self._name, problem, "correct that: the log says what it said")

    def begin(self, connection: Connection, transport: asyncio.Transport) -> None:  # noqa: ARG002
        """Gives the connection a protocol of uvicorn's, which changes to WebSocket when asked."""
        protocol: Any = self._protocol(
            config=self._config,
            server_state=self._state,
            app_state=self._lifespan.state,
        )
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    def drain(self) -> None:
        """Ends connections that stay idle; each other is told to end with its next answer.

        Who has just connected is about to ask for something, and cannot know that we drain.
        """
        loop = asyncio.get_running_loop()
        protocols: list[Any] = list(self._state.connections)
        for protocol in protocols:
            if _is_websocket(protocol):  # as long as any other conversation
                continue
            protocol.timeout_keep_alive = patience = random.uniform(*PATIENCE)  # noqa: S311
            if protocol.timeout_keep_alive_task is not None:  # it is idle
                protocol.timeout_keep_alive_task.cancel()
                protocol.timeout_keep_alive_task = loop.call_later(
                    patience, protocol.timeout_keep_alive_handler
                )

    def let_go(self, connection: Connection) -> None:
        """Ends a connection that is idle, in its protocol's way."""
        if not self._close_websocket(connection):
            super().let_go(connection)

    def end(self, connection: Connection) -> None:
        """Ends a connection at once."""
        if not self._close_websocket(connection):
            super().end(connection)

    def _close_websocket(self, connection: Connection) -> bool:
        """Closes it with 1012, "service restart" in IANA's registry; False: it is none."""
        protocol: Any = connection.transport and connection.transport.get_protocol()
        if protocol not in self._state.connections or not _is_websocket(protocol):
            return False
        protocol.shutdown()
        return True

    async def stop(self) -> None:
        """Runs the lifespan's shutdown."""
        await self._lifespan.shutdown()


def _is_websocket(protocol: Any) -> bool:
    return not hasattr(protocol, "timeout_keep_alive")


def _saying_goodbye(application: Any) -> Any:
    """Lets an application's answers say, while we drain, that their connections end with them."""

    async def answering(
        scope: Any, receive: Any, send: Callable[[dict[str, Any]], Awaitable[None]]
    ) -> None:
        def say(message: dict[str, Any]) -> Awaitable[None]:
            if message["type"] == "http.response.start" and draining():
                headers = [*message.get("headers", ()), (b"connection", b"close")]
                message = {**message, "headers": headers}
            return send(message)

        await application(scope, receive, say)

    return answering
