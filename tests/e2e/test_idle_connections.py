"""What becomes of idle connections while a worker drains."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path

from command import serve

MODES = {
    "threads": "modes.py:pairs",
    "greenlets": "modes.py:pairs",
    "asyncio": "modes.py:pairs_in_asyncio",
}


def test_idle_ones_are_let_go_and_no_request_is_cut(tmp_path: Path) -> None:
    """Who waits for nothing is told goodbye; who has said half of it may say the rest."""
    with ExitStack() as opened:
        servers, idle, busy = [], list[socket.socket](), list[socket.socket]()
        for mode, target in MODES.items():
            log = tmp_path / mode
            served = opened.enter_context(serve(target, "-w", "1", "--mode", mode, log=log))
            servers.append(served)
            for clients in (idle, busy):
                client = opened.enter_context(served.connect(timeout=20))
                client.sendall(b"ab")
                assert client.recv(2) == b"ab"
                clients.append(client)
        time.sleep(0.1)  # the kernel's clock must have ticked
        for client in busy:
            client.sendall(b"c")
        for served in servers:
            served.send(signal.SIGTERM)
        for client in idle:
            assert client.recv(1) == b""
        for client in busy:
            client.sendall(b"d")
            assert client.recv(2) == b"cd"
            client.close()
        assert [served.wait() for served in servers] == [0, 0, 0]
