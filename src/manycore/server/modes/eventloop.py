"""An asyncio loop that serves connections, in a thread of its own.

Guarantees: what a handler or a protocol raises ends its connection and nothing else; a connection
is open until its socket is closed *and* its handler has ended; many that are accepted at once wake
the loop once; with no connections nothing wakes up.

The main thread accepts and hands sockets over; all else happens in the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from manycore.base import stacks
from manycore.server.entrance import Entrance, TurnedAway, admit, turn_away
from manycore.server.visit import Visit

from .mode import peer
from .onethread import OneThreadMode
from .speaking import Connection, Speaker
from .waiting import find_tasks

log = logging.getLogger("manycore.server")


class LoopSocket(socket.socket):
    """A socket that says when a loop has closed it, whoever's protocol it has by then.

    A transport of uvloop detaches its socket when it closes it, one of asyncio closes it.
    """

    __slots__ = ("when_closed",)

    def __init__(self, conn: socket.socket, when_closed: Callable[[], None]) -> None:
        self.when_closed: Callable[[], None] | None = when_closed
        super().__init__(conn.family, conn.type, conn.proto, conn.detach())
        self.setblocking(False)

    def close(self) -> None:
        """Closes it."""
        super().close()
        self._say()

    def detach(self) -> int:
        """Gives the descriptor away."""
        fd = super().detach()
        self._say()
        return fd

    def _say(self) -> None:
        say, self.when_closed = self.when_closed, None
        if say is not None:
            say()


class LoopMode(OneThreadMode):
    """Serves by coroutines and protocols.

    Args:
        speaker: Speaks over each connection.
        new_loop: Makes the loop.
        limit: How many connections may be open.
        entrance: What each connection passes first.
        row: The worker's row on the board.
        freed: Called, from any thread, when what `wake_below` asked for has come.
    """

    def __init__(
        self,
        speaker: Speaker,
        new_loop: Callable[[], asyncio.AbstractEventLoop],
        limit: int,
        entrance: Entrance,
        row: memoryview,
        freed: Callable[[], None],
    ) -> None:
        thread = threading.Thread(target=self._run, name="asyncio", daemon=True)
        super().__init__(thread, limit, row, freed)
        self._speaker = speaker
        self._new_loop = new_loop
        self._entrance = entrance
        self._arrivals: deque[Visit] = deque()
        self._woken = False
        self._connections: dict[Visit, Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = threading.Event()
        self._closing = False
        self._problem: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Starts the loop; returns when it runs, and the target is ready.

        Raises:
            Exception: What the target's own preparation raised.
        """
        super().start()
        self._running.wait()
        if self._problem is not None:
            raise self._problem

    def visits(self) -> list[Visit]:
        """Lists the connections that are being served."""
        return list(self._connections)

    def drain(self) -> None:
        """Lets the speaker end what is idle; all else goes on."""
        self._call(self._speaker.drain)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_soon_threadsafe(function, *arguments)

    def _hand_over(self, visit: Visit) -> None:
        self._arrivals.append(visit)
        if not self._woken:
            self._woken = True
            self._call(self._take_arrivals)

    # From here on: the loop's thread.

    def _run(self) -> None:
        loop = self._loop = self._new_loop()
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(self._take_exception)
        stacks.also(partial(find_tasks, loop))
        try:
            loop.run_until_complete(self._speaker.start(self._ledger.failed))
        except BaseException as error:
            self._problem = error
            return
        finally:
            self._running.set()
        while not self._closing:
            try:
                loop.run_forever()
            except BaseException:  # SystemExit, say, in a callback: it is not the worker's
                log.exception("a callback raised what ends an event loop; this one goes on")
        _wind_up(loop, self._speaker)

    def _take_arrivals(self) -> None:
        self._woken = False
        while self._arrivals:
            connection = Connection(self._speaker, self._arrivals.popleft(), self._gone)
            self._connections[connection.visit] = connection
            task = self._loop.create_task(self._connect(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, connection: Connection) -> None:
        sock = LoopSocket(connection.visit.conn, connection.socket_closed)
        connection.visit.conn = sock
        try:
            if self._entrance.is_open:
                await self._loop.connect_accepted_socket(lambda: connection, sock)
            else:
                await self._pass(connection, sock)
        except TurnedAway as error:
            turn_away(connection.visit.address, error)
            sock.close()
        except OSError as error:
            log.info("client %s went away: %s", peer(connection.visit.address), error)
            sock.close()
        except BaseException:
            sock.close()
            raise

    async def _pass(self, connection: Connection, sock: LoopSocket) -> None:
        """Lets a connection in that shows whom it is for and that it keeps a secret."""
        entrance = self._entrance
        deadline = self._loop.time() + entrance.timeout
        try:
            if entrance.proxied:
                async with asyncio.timeout_at(deadline):
                    client = await entrance.await_header(sock, connection.visit.address)
                admit(connection.visit, client)
                connection.client = client
            left = max(0.001, deadline - self._loop.time())
            secured: dict[str, Any] = {"ssl": entrance.context(), "ssl_handshake_timeout": left}
            await self._loop.connect_accepted_socket(
                lambda: connection, sock, **(secured if entrance.secure else {})
            )
        except (OSError, TurnedAway) as error:
            raise TurnedAway(str(error) or "timed out") from error

    def _gone(self, connection: Connection) -> None:
        self._connections.pop(connection.visit, None)
        self._ledger.finished()
        connection.visit.end()

    def _disconnect(self, visit: Visit) -> None:
        if (connection := self._connections.get(visit)) is not None:
            connection.drop()

    def _let_go(self, visit: Visit) -> None:
        """Lets the speaker end one that is idle."""
        if (connection := self._connections.get(visit)) is not None:
            self._speaker.let_go(connection)

    def _end(self) -> None:
        """Ends every handler and every connection."""
        for connection in list(self._connections.values()):
            self._speaker.end(connection)

    def _stop(self) -> None:
        self._closing = True
        self._loop.stop()

    def _take_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Logs what a protocol, a callback or a forgotten task raised; ends the connection."""
        error = context.get("exception")
        transport = context.get("transport")
        connection = next((c for c in self._connections.values() if c.transport is transport), None)
        if transport is None or connection is None or error is None:
            loop.default_exception_handler(context)
            return
        connection.fail(error)


def _wind_up(loop: asyncio.AbstractEventLoop, speaker: Speaker) -> None:
    """Lets the target clean up, cancels what still runs, and closes the loop."""
    try:
        loop.run_until_complete(speaker.stop())
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    except BaseException:
        log.exception("the event loop could not be closed in order")
