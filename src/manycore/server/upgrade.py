"""USR2: another supervisor, of the manycore and the settings that are there now, takes over.

Guarantees: the listeners are the same, so no client notices; the old server serves until every
worker of the new one is ready, and goes on if that does not come in time; what exists once (pid
file, control socket, the service manager's ear) moves at that moment, and not before.

The two talk over a socket: the new one reports as every supervisor does, and the old one answers
"ready" by one byte, or by its end.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
from collections.abc import Callable, MutableMapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from manycore.base import sockets
from manycore.base.addresses import BindAddress, InheritedSocket
from manycore.base.segments import anonymous_file, read_all
from manycore.base.sockets import Listener
from manycore.supervise.events import Failure
from manycore.supervise.report import ReadyReport, decode

if TYPE_CHECKING:
    from manycore.supervise.supervisor import Supervisor

log = logging.getLogger("manycore.server")

VARIABLE: Final = "MANYCORE_HANDOVER"
START: Final = 30.0  # seconds: an interpreter on a machine that is very busy
BOOTS: Final = 2  # boot timeouts: one that fails by chance may fail once
_READ_SIZE: Final = 65_536


@dataclass(frozen=True, slots=True)
class Handover:
    """What a new supervisor is given.

    Attributes:
        listeners: For each: how it was asked for, its descriptor, whether it is ours, its file.
        channel: Where it reports, and hears that it shall take over.
        pid_file: The descriptor of the pid file; None: there is none.
        notify: The service manager's socket; nothing: there is nobody.
        watchdog: Seconds within which that wants to hear of us; None: it does not.
    """

    listeners: list[tuple[str, int, bool, tuple[int, int] | None]]
    channel: int
    pid_file: int | None = None
    notify: str = ""
    watchdog: float | None = None

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Handover | None:
        """Finds what this process was given, if it is to take over from another one."""
        fd = environ.pop(VARIABLE, "")
        if not fd.isdecimal():
            return None
        facts: dict[str, Any] = json.loads(read_all(int(fd)))
        facts["listeners"] = [
            (name, fd, ours, file and (file[0], file[1]))
            for name, fd, ours, file in facts["listeners"]
        ]
        return cls(**facts)

    def pack(self) -> int:
        """Writes it into a nameless file; gives its descriptor."""
        return anonymous_file("handover", json.dumps(asdict(self)).encode())

    def descriptors(self) -> list[int]:
        """What the new process must inherit."""
        found = [fd for _, fd, _, _ in self.listeners]
        return [*found, self.channel, *([] if self.pid_file is None else [self.pid_file])]

    def passed(self) -> tuple[InheritedSocket, ...]:
        """Gives the sockets that the service manager once passed: no setting names them."""
        names = [name for name, _, ours, _ in self.listeners if not ours]
        return tuple(InheritedSocket(int(name.rpartition("/")[2])) for name in names)

    def listen(
        self, addresses: tuple[BindAddress, ...], open_one: Callable[[BindAddress], Listener]
    ) -> list[Listener]:
        """Takes the listeners that the settings still ask for, and opens those that are new."""
        there = {name: (fd, ours, file) for name, fd, ours, file in self.listeners}
        with ExitStack() as undo:
            found = []
            for address in addresses:
                known = there.pop(str(address), None)
                listener = sockets.adopt([known])[0] if known else open_one(address)
                undo.callback(listener.sock.close)
                found.append(listener)
            undo.pop_all()
        for fd, _, _ in there.values():
            os.close(fd)
        return found


@dataclass(frozen=True, slots=True)
class Succession:
    """Whose place a server takes, and how it may be replaced.

    Attributes:
        command: What starts such a server again; None: nobody knows.
        handover: What the one before has given it; None: there was none.
    """

    command: list[str] | None = None
    handover: Handover | None = None


NO_SUCCESSION: Final = Succession()


class Upgrade:
    """A new supervisor that is starting, as the old one sees it.

    Args:
        command: What starts it.
        handover: Gives, for a channel, what it is given.
        supervisor: Who waits for us.
        patience: Seconds until it must be ready.
        ready: Called, with its process id, when it is.
        over: Called when it is not, and will not be.

    Raises:
        OSError: When there is no room for a process.
    """

    def __init__(
        self,
        command: list[str],
        handover: Callable[[int], Handover],
        supervisor: Supervisor,
        patience: float,
        ready: Callable[[int], None],
        over: Callable[[], None],
    ) -> None:
        self._supervisor = supervisor
        self._ready, self._over = ready, over
        self._received = b""
        self._conn, theirs = socket.socketpair()
        with theirs:
            given = handover(theirs.fileno())
            fd = given.pack()
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    pass_fds=(fd, *given.descriptors()),
                    env=os.environ | {VARIABLE: str(fd)},
                )
            except OSError:
                self._conn.close()
                raise
            finally:
                os.close(fd)
        supervisor.watch(self._conn.fileno(), self._read)
        supervisor.call_later(patience, lambda: self._fail(f"it took more than {patience:g} s"))

    def _read(self) -> None:
        chunk = self._conn.recv(_READ_SIZE)
        self._received += chunk
        report = decode(self._received) if self._received.endswith(b"\n") else None
        if isinstance(report, ReadyReport):
            self._supervisor.unwatch(self._conn.fileno())
            self._ready(self._process.pid)
            self._conn.close()  # it hears that it shall take over
        elif isinstance(report, Failure):
            self._fail(f"{report.where}: {report.problem}" if report.where else report.problem)
        elif not chunk:
            self._fail("it ended; its own words are above")

    def _fail(self, reason: str) -> None:
        if self._conn.fileno() >= 0:
            log.error("the upgrade failed, this server goes on: %s", reason)
            self.cancel()
            self._over()

    def cancel(self) -> None:
        """Ends the new server, unless it has taken over."""
        if self._conn.fileno() >= 0:
            self._supervisor.unwatch(self._conn.fileno())
            self._process.kill()  # its workers die with it
            self._process.wait()
            self._conn.close()
