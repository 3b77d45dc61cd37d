"""Reloads and kills under load: which connections break, and by what.

python benchmarks/server/storms.py [MODE ...] [tcp] [unix] [tls] [reloads=100] [kills=100]

Clients connect, learn which process serves them, exchange a few messages for a fraction of a
second, and leave. Meanwhile the server is reloaded again and again, then workers are killed again
and again. It exits with 1 when a connection was refused, or was broken by a reload, or was broken
although no killed worker was serving it.
"""

from __future__ import annotations

import asyncio
import os
import platform
import random
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from servers import HERE

from manycore import Server

WORKERS, CLIENTS = 4, 32
MESSAGES, PAUSE = 8, 0.02  # of a client at most, and seconds between two of them
PATIENCE = 30.0  # seconds until whatever is waited for has failed
OLD = 1.1  # seconds: who dies younger is suspected of a crash loop, and replaced after a pause

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

#: what is served, and how, by the name of the mode
MODES: dict[str, tuple[str, dict[str, Any]]] = {
    "threads": ("handle", {"mode": "threads"}),
    "greenlets": ("handle", {"mode": "greenlets"}),
    "protocol": ("Named", {"mode": "asyncio"}),
    "streams": ("streams", {"mode": "asyncio"}),
    "asgi": ("asgi", {"asgi": True}),
    "wsgi": ("wsgi", {"wsgi": True}),
}
TRANSPORTS = ("tcp", "unix", "tls")


@dataclass(slots=True)
class Tally:
    """What happened to the clients' connections.

    Attributes:
        made: Connections that were begun.
        ended: Those that went well, to their end.
        refused: Those that there was no way to begin.
        broken: Process ids of those who served the broken ones; 0 before that was known.
        why: How they broke, and how often.
    """

    made: int = 0
    ended: int = 0
    refused: int = 0
    broken: list[int] = field(default_factory=list)
    why: dict[str, int] = field(default_factory=dict)

    def note(self, error: Exception) -> None:
        """Counts a reason."""
        reason = f"{type(error).__name__}: {error}"
        self.why[reason] = self.why.get(reason, 0) + 1


class Load:
    """Clients that come and go, until they are told to stop."""

    def __init__(self, mode: str, address: Any, context: ssl.SSLContext | None) -> None:
        self.tally = Tally()
        self._converse = self._request if MODES[mode][0] in {"asgi", "wsgi"} else self._echo
        self._address = address
        self._context = context
        self._stopped = False

    async def during(self, storm: Callable[[], None]) -> Tally:
        """Runs a storm in a thread of its own, while the clients come and go."""
        clients = [asyncio.create_task(self._come_and_go()) for _ in range(CLIENTS)]
        try:
            await asyncio.to_thread(storm)
        finally:
            self._stopped = True
            await asyncio.gather(*clients)
        return self.tally

    async def _come_and_go(self) -> None:
        while not self._stopped:
            await self._visit()

    async def _visit(self) -> None:
        self.tally.made += 1
        owner = 0

        def learn(pid: bytes) -> None:
            nonlocal owner
            owner = int(pid)

        try:
            reader, writer = await asyncio.wait_for(self._connect(), PATIENCE)
        except (ConnectionRefusedError, FileNotFoundError, BlockingIOError) as error:
            self.tally.refused += 1
            self.tally.note(error)
            return
        except (OSError, TimeoutError, EOFError) as error:  # in the handshake
            self.tally.broken.append(0)
            self.tally.note(error)
            return
        try:
            await asyncio.wait_for(self._converse(reader, writer, learn), PATIENCE)
            self.tally.ended += 1
        except (OSError, TimeoutError, EOFError, ValueError) as error:
            self.tally.broken.append(owner)
            self.tally.note(error)
        finally:
            writer.close()
            with suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), PATIENCE)

    async def _connect(self) -> Streams:
        if isinstance(self._address, str):
            return await asyncio.open_unix_connection(self._address)
        return await asyncio.open_connection(*self._address, ssl=self._context)

    async def _echo(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        learn: Callable[[bytes], None],
    ) -> None:
        learn(await reader.readexactly(8))
        for number in range(random.randint(1, MESSAGES)):
            message = b"%08d" % number
            writer.write(message)
            if await reader.readexactly(len(message)) != message:
                raise ValueError("another answer than was asked for")
            await asyncio.sleep(random.uniform(0, 2 * PAUSE))

    async def _request(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        learn: Callable[[bytes], None],
    ) -> None:
        for _ in range(random.randint(1, MESSAGES)):
            seconds = random.uniform(0, 2 * PAUSE)
            writer.write(f"GET /?seconds={seconds} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b" 200 " not in head.partition(b"\r\n")[0]:
                raise ValueError(f"the answer was {head!r}")
            learn(await reader.readexactly(8))
            if b"\r\nconnection: close\r\n" in head:
                return


class Storm:
    """What is done to a server that has clients."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.killed: set[int] = set()

    def reloads(self, count: int) -> None:
        """Reloads, and waits until only workers of the new code take connections."""
        for _ in range(count):
            generation = 1 + max(worker.generation for worker in self._server.statistics().workers)
            assert self._server.pid is not None
            os.kill(self._server.pid, signal.SIGHUP)
            self._await(lambda: self._serving_is_from(generation))  # noqa: B023  # it is called here

    def kills(self, count: int) -> None:
        """Kills a worker, any that is old enough, and waits until there is another."""
        for _ in range(count):
            time.sleep(random.uniform(0, 0.1))
            self._await(lambda: bool(self._old_ones()))
            victim = random.choice(self._old_ones())
            self.killed.add(victim)
            os.kill(victim, signal.SIGKILL)
            self._await(lambda: self._all_serve_but(victim))  # noqa: B023

    def _old_ones(self) -> list[int]:
        workers = self._server.statistics().workers
        return [one.pid for one in workers if one.state == "ready" and one.uptime > OLD]

    def _serving_is_from(self, generation: int) -> bool:
        workers = self._server.statistics().workers
        ready = [worker.generation for worker in workers if worker.state == "ready"]
        return len(ready) == WORKERS and min(ready) >= generation

    def _all_serve_but(self, victim: int) -> bool:
        workers = self._server.statistics().workers
        pids = [worker.pid for worker in workers if worker.state == "ready"]
        return len(pids) == WORKERS and victim not in pids

    def _await(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"it hangs: {self._server.statistics()}")
            time.sleep(0.005)


@contextmanager
def served(mode: str, transport: str) -> Iterator[tuple[Server, ssl.SSLContext | None]]:
    """Runs a server, and gives what its clients need."""
    target, settings = MODES[mode]
    with tempfile.TemporaryDirectory() as directory:
        context = None
        settings = {**settings, "log_level": "critical", "reload_overlap": WORKERS}
        if transport == "unix":
            settings["bind"] = f"unix:{directory}/s"
        if transport == "tls":
            settings["certificate"] = _certificate(directory)
            context = ssl.create_default_context(cafile=settings["certificate"])
        with Server(f"{HERE}/whose.py:{target}", workers=WORKERS, **settings) as server:
            yield server, context


def _certificate(directory: str) -> str:
    path = f"{directory}/server.pem"
    command = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", path, "-out", f"{directory}/certificate.pem"]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    with open(path, "a") as file, open(f"{directory}/certificate.pem") as certificate:
        file.write(certificate.read())
    return path


def storm(mode: str, transport: str, reloads: int, kills: int) -> bool:
    """Lets both storms pass over a server; says whether only the killed broke anything."""
    with served(mode, transport) as (server, context):
        passing = Storm(server)
        address = server.addresses[0]
        quiet = asyncio.run(Load(mode, address, context).during(lambda: passing.reloads(reloads)))
        lost = server.statistics().lost
        fine = not quiet.refused and not quiet.broken and not lost
        print(
            f"{mode:9} {transport:4}  {reloads} reloads: {quiet.made} connections, "
            f"{quiet.refused} refused, {len(quiet.broken)} broken",
            flush=True,
        )
        wild = asyncio.run(Load(mode, address, context).during(lambda: passing.kills(kills)))
        lost = server.statistics().lost - lost
    theirs = sum(owner in passing.killed for owner in wild.broken)
    unknown = wild.broken.count(0)
    others = len(wild.broken) - theirs - unknown
    print(
        f"{mode:9} {transport:4}  {kills} kills: {wild.made} connections, {wild.refused} refused, "
        f"{len(wild.broken)} broken: {theirs} served by the killed, {unknown} before they knew by "
        f"whom, {others} by others; the killed had {lost} open",
        flush=True,
    )
    fine = fine and not wild.refused and not others and len(wild.broken) <= lost
    if not fine:
        print(f"  reloads: {quiet.why}\n  kills: {wild.why}", flush=True)
    return fine


if __name__ == "__main__":
    print(
        f"{os.cpu_count()} CPUs, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}"
    )
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    counts = int(words.get("reloads", "100")), int(words.get("kills", "100"))
    results = [
        storm(mode, transport, *counts)
        for mode in [word for word in words if word in MODES] or MODES
        for transport in [word for word in words if word in TRANSPORTS] or TRANSPORTS
    ]
    sys.exit(not all(results))
