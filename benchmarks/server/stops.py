"""Stops under load: who was connected must be answered, or have found the port closed before.

python benchmarks/server/stops.py [MODE ...] [stops=50] [clients=64] [workers=4] [rtt=0]

Clients connect without a pause, send at once, and want an answer; meanwhile the server is told to
stop (TERM), ends, and is started again. It exits with 1 when a connection that stood was reset, or
ended without an answer.

With `rtt` in seconds the clients are that far away: packets go through a TUN device of a network
namespace of their own, and through this program, which holds them up. That needs user namespaces
and /dev/net/tun.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress

import far
from servers import HERE

MODES = {
    "threads": ["echo.py:handle"],
    "halfway": ["halfway.py:handle"],
    "greenlets": ["echo.py:handle", "--mode", "greenlets"],
    "streams": ["echo.py:streams"],
    "protocol": ["echo.py:Echo"],
}
PATIENCE = 10.0  # seconds for one answer


class Clients:
    """Those who come again and again, and what became of them."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.fates: Counter[str] = Counter()
        self._address = address
        self._over = False

    async def come(self, count: int) -> None:
        """Lets them come until `end`."""
        await asyncio.gather(*(self._come_again() for _ in range(count)))

    def end(self) -> None:
        """Lets nobody come any more."""
        self._over = True

    async def _come_again(self) -> None:
        while not self._over:
            self.fates[await self._visit()] += 1

    async def _visit(self) -> str:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setblocking(False)
            try:
                await asyncio.wait_for(loop.sock_connect(sock, self._address), 0.5)
            except (OSError, TimeoutError):  # refused, or not answered
                await asyncio.sleep(0.005)
                return "never connected"
            try:
                await loop.sock_sendall(sock, b"hello")
                answer = await asyncio.wait_for(loop.sock_recv(sock, 100), PATIENCE)
            except (OSError, TimeoutError) as error:
                return f"{type(error).__name__}"
            return "answered" if answer == b"hello" else "ended without an answer"


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as sock:
        return int(sock.getsockname()[1])


def _serve(mode: str, address: tuple[str, int], workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "manycore", "serve", *MODES[mode]]
    options = [
        "--bind",
        "{}:{}".format(*address),
        "--workers",
        str(workers),
        "--log-level",
        "error",
    ]
    process = subprocess.Popen([*command, *options], cwd=HERE)
    deadline = time.monotonic() + 20
    while True:
        with suppress(OSError), socket.create_connection(address, timeout=1) as probe:
            probe.sendall(b"?")
            if probe.recv(1):
                return process
        if time.monotonic() > deadline:
            raise TimeoutError("the server does not start")
        time.sleep(0.02)


async def rush(server: subprocess.Popen[bytes], visitors: Clients, count: int) -> float:
    """Lets clients come while a server is told to stop; gives the seconds until it has ended."""

    def stop() -> float:
        time.sleep(0.3)  # seconds, in which all is as usual
        server.send_signal(signal.SIGTERM)
        began = time.monotonic()
        server.wait(60)
        return time.monotonic() - began

    coming = asyncio.create_task(visitors.come(count))
    try:
        return await asyncio.to_thread(stop)
    finally:
        visitors.end()
        await coming


def storm(mode: str, stops: int, clients: int, workers: int, *, distant: bool) -> bool:
    """Stops a server again and again; says whether nobody was lost."""
    host = far.HERE if distant else "127.0.0.1"
    seen_from = far.FROM_AFAR if distant else host
    fates: Counter[str] = Counter()
    longest = 0.0
    for _ in range(stops):
        port = _free_port(host)
        server = _serve(mode, (host, port), workers)
        visitors = Clients((seen_from, port))
        longest = max(longest, asyncio.run(rush(server, visitors, clients)))
        fates += visitors.fates
    lost = fates.total() - fates["answered"] - fates["never connected"]
    words = f"{mode:9}  {stops} stops, the longest {longest:.2f} s; {lost} lost"
    print(f"{words}: {dict(fates)}", flush=True)
    return not lost


def main(words: dict[str, str]) -> int:
    """Runs the storms that are asked for."""
    rtt = float(words.get("rtt", "0"))
    if rtt:
        far.move_away()
        far.be_far_away(rtt / 2)
    print(
        f"{os.cpu_count()} CPUs, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, round trip {rtt:g} s"
    )
    defaults = {"stops": 50, "clients": 64, "workers": 4}
    stops, clients, workers = (int(words.get(name, default)) for name, default in defaults.items())
    fine = [
        storm(mode, stops, clients, workers, distant=bool(rtt))
        for mode in [word for word in words if word in MODES] or MODES
    ]
    return int(not all(fine))


if __name__ == "__main__":
    sys.exit(main(dict(word.partition("=")[::2] for word in sys.argv[1:])))
