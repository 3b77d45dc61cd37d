"""What speaks over the connections of an asyncio loop: coroutines over streams, or protocols."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias, cast

from manycore.server.visit import Visit

from .mode import is_the_clients_doing, leave_if_forked, peer, shut_reading, went_away

log = logging.getLogger("manycore.server")

StreamHandler: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]


class Speaker:
    """Speaks over connections: makes of each new one what the target wants."""

    failed: Callable[[], None]  # counts a connection whose handler raised

    async def start(self, failed: Callable[[], None]) -> None:
        """Gets ready; raises what makes that impossible."""
        self.failed = failed

    def begin(self, connection: Connection, transport: asyncio.Transport) -> None:
        """Gives a new connection's transport a protocol, and tells that it is connected."""
        raise NotImplementedError

    def drain(self) -> None:
        """Ends what is idle, where it can know that."""

    def let_go(self, connection: Connection) -> None:
        """Ends a connection that is idle; it may go on sending."""
        shut_reading(connection.visit)

    def end(self, connection: Connection) -> None:
        """Ends a connection at once."""
        connection.end()

    async def stop(self) -> None:
        """Lets the target clean up."""


class Connection(asyncio.Protocol):
    """One connection, from when it was accepted until its socket and its handler are done.

    It is the transport's protocol for a moment, until the speaker sets the target's own.

    Args:
        speaker: Who speaks over it.
        visit: Its client's stay.
        gone: Called when it is over.
    """

    __slots__ = (
        "_gone",
        "_over",
        "_speaker",
        "client",
        "failed",
        "task",
        "transport",
        "visit",
    )

    def __init__(
        self,
        speaker: Speaker,
        visit: Visit,
        gone: Callable[[Connection], None],
    ) -> None:
        self.visit = visit
        self.client: Any = None  # its address, where a proxy named it
        self.failed = False
        self.transport: asyncio.Transport | None = None
        self.task: asyncio.Task[None] | None = None
        self._speaker = speaker
        self._over = False
        self._gone = gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hands the transport to the speaker."""
        self.transport = cast("asyncio.Transport", transport)
        try:
            self._speaker.begin(self, self._transport_of_client())
        except BaseException as error:
            self.fail(error)

    def _transport_of_client(self) -> asyncio.Transport:
        assert self.transport is not None
        if self.client is None:
            return self.transport
        from .proxied import ProxiedTransport

        return cast("asyncio.Transport", ProxiedTransport(self.transport, self.client))

    def start(self, handler: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine that belongs to the connection."""
        self.task = asyncio.get_running_loop().create_task(handler)
        self.task.add_done_callback(self._handler_ended)

    def fail(self, error: BaseException) -> None:
        """Logs what the target raised, and ends the connection."""
        if not self.failed:
            self.failed = True
            self._speaker.failed()
        log.error(
            "the handler failed; client %s is disconnected",
            peer(self.visit.address),
            exc_info=error,
        )
        if self.transport is not None:
            self.transport.close()  # what was written before is still sent

    def end(self) -> None:
        """Cancels the handler and drops the connection."""
        if self.task is not None:
            self.task.cancel()
        self.drop()

    def drop(self) -> None:
        """Drops the connection; the handler sees its end."""
        if self.transport is not None:
            self.transport.abort()

    def socket_closed(self) -> None:
        """The transport is done with its socket."""
        self._over = True
        if self.task is None:
            self._gone(self)

    def _handler_ended(self, _task: asyncio.Task[None]) -> None:
        self.task = None
        if self._over:
            self._gone(self)


class Protocols(Speaker):
    """Gives each connection a protocol of the target's.

    Args:
        factory: Makes one.
    """

    def __init__(self, factory: Callable[[], Any]) -> None:
        self._factory = factory

    def begin(self, connection: Connection, transport: asyncio.Transport) -> None:  # noqa: ARG002
        """Makes the protocol."""
        protocol = self._factory()
        if not isinstance(protocol, asyncio.Protocol | asyncio.BufferedProtocol):
            kind = type(protocol).__name__
            raise TypeError(f"the target gave a {kind}, which is no asyncio.Protocol")
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


class Streams(Speaker):
    """Runs a coroutine over each connection; the connection is closed when that has ended.

    Args:
        handler: The coroutine function.
    """

    def __init__(self, handler: StreamHandler) -> None:
        self._handler = handler

    def begin(self, connection: Connection, transport: asyncio.Transport) -> None:
        """Makes the streams."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        connection.start(self._run(connection, reader, writer))

    async def _run(
        self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        process = os.getpid()
        try:
            await self._handler(reader, writer)
        except asyncio.CancelledError:
            log.debug("the handler of client %s was cancelled", peer(connection.visit.address))
        except BaseException as error:
            if is_the_clients_doing(error):
                went_away(connection.visit.address, error)
            else:
                connection.fail(error)
        leave_if_forked(process)
        writer.close()  # what was written is still sent
