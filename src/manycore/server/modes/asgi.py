"""An ASGI application, spoken to by uvicorn's protocols. One lifespan a worker."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from uvicorn import Config
from uvicorn.server import ServerState

from manycore.errors import TargetError

from .pacing import paced
from .speaking import Connection, Speaker

log = logging.getLogger("manycore.server")


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
        """Ends connections that wait for another request; the others after their next answer.

        Who has just connected is about to ask for something, and cannot know that we drain.
        """
        self._config.timeout_keep_alive = 0  # of connections that are still to come
        protocols: list[Any] = list(self._state.connections)
        for protocol in protocols:
            if getattr(protocol, "cycle", protocol) is None:
                protocol.timeout_keep_alive = 0
            else:
                protocol.shutdown()

    async def stop(self) -> None:
        """Runs the lifespan's shutdown."""
        await self._lifespan.shutdown()
