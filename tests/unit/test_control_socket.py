"""The supervisor's half of the control socket, when there is little left."""

from __future__ import annotations

import os
import resource
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from manycore.watch.control import PAUSE, ControlSocket
from manycore.watch.protocol import Answer, Request, encode_request


class Watcher:
    """Waits only when it is told to."""

    def __init__(self) -> None:
        self.watched: dict[int, Callable[[], None]] = {}
        self.later: list[tuple[float, Callable[[], None]]] = []

    def watch(self, fd: int, react: Callable[[], None], *, write: bool = False) -> None:
        assert not write
        self.watched[fd] = react

    def unwatch(self, fd: int) -> None:
        self.watched.pop(fd, None)

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        self.later.append((seconds, function))

    def turn(self) -> int:
        """Lets what is readable be read; gives how many that were."""
        ready = select.select(self.watched, [], [], 0)[0]
        for fd in ready:
            self.watched[fd]()
        return len(ready)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_client_without_a_descriptor_waits_and_wakes_nobody(tmp_path: Path) -> None:
    """Once there is one, it is answered."""
    watcher = Watcher()
    control = ControlSocket(
        str(tmp_path / "control"), watcher, lambda request, reply: reply(Answer(request.verb))
    )
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(control.path)
        client.sendall(encode_request(Request("hello")))
        with no_descriptor_left():
            assert watcher.turn() == 1
            assert watcher.turn() == 0
        ((seconds, go_on),) = watcher.later
        assert seconds == PAUSE
        go_on()
        assert watcher.turn() == 1
        assert watcher.turn() == 1
        assert b"hello" in client.recv(1000)
        control.close()
        go_on()  # too late: nothing is there any more
    assert not watcher.watched
