"""A place that is added while workers are renewed: their successors share with it too."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from command import serve
from eventually import eventually

CODE = """
import os, time
while os.path.exists({hold!r}):
    time.sleep(0.01)

def handle(conn):
    conn.sendall(b"%08d" % os.getpid())
    conn.recv(1)
"""


def owner(client: socket.socket) -> int:
    return int(client.recv(8, socket.MSG_WAITALL))


def test_a_successor_hands_on_to_a_new_place(tmp_path: Path) -> None:
    """The new worker was away while the others were served; then it gets what they accept."""
    hold = tmp_path / "hold"
    (tmp_path / "code.py").write_text(CODE.format(hold=str(hold)))
    arguments = ("-w", "1")
    with (
        serve("code.py:handle", *arguments, log=tmp_path / "log", cwd=tmp_path) as served,
        ExitStack() as stack,
    ):

        def connect(count: int) -> Counter[int]:
            clients = [stack.enter_context(served.connect()) for _ in range(count)]
            return Counter(map(owner, clients))

        old = served.workers()
        hold.touch()
        served.send(signal.SIGHUP)
        eventually(lambda: len(served.workers()) == 2, within=10)
        (successor,) = set(served.workers()) - set(old)
        served.send(signal.SIGTTIN)
        eventually(lambda: len(served.workers()) == 3, within=10)
        (added,) = set(served.workers()) - {successor, *old}
        hold.unlink()
        served.await_log("every worker is of generation 1")
        eventually(lambda: set(connect(4)) == {successor, added}, within=10)
        os.kill(added, signal.SIGSTOP)
        ahead = connect(16)
        assert set(ahead) == {successor}
        os.kill(added, signal.SIGCONT)
        eventually(lambda: added in connect(1), within=10)  # it moves again
        assert connect(14)[added] >= 12
