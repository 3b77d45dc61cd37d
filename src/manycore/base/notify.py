"""Tells the service manager how a service is: systemd's notification protocol (man 3 sd_notify).

Guarantee: to tell never blocks and never fails; what the service manager does not hear is lost.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final

log = logging.getLogger("manycore.service")

_OURS: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_MICROSECONDS: Final = 1_000_000  # a second


class Notifier:
    """Tells one service manager.

    Args:
        place: Its socket: a path, or `@` and a name without a file; nothing: there is nobody.
        watchdog: Seconds within which it wants to hear `WATCHDOG`; None: it does not.
    """

    def __init__(self, place: str = "", watchdog: float | None = None) -> None:
        self._place = place
        self.watchdog = watchdog if place else None
        self._complained = False

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Notifier:
        """Finds the service manager of this process, and removes what named it.

        What a service starts must not speak in its name.

        Example:
            >>> environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000"}
            >>> Notifier.take(environ).watchdog, environ
            (30.0, {})
        """
        place, usec, pid = (environ.pop(name, "") for name in _OURS)
        watchdog = None
        if usec.isdecimal() and int(usec) > 0 and pid in {"", str(os.getpid())}:
            watchdog = int(usec) / _MICROSECONDS
        return cls(place if place[:1] in {"/", "@"} else "", watchdog)

    @property
    def place(self) -> str:
        """Where the service manager listens."""
        return self._place

    def ready(self, status: str) -> None:
        """The service serves, after its start or after a reload."""
        self._tell(READY="1", STATUS=status)

    def reloading(self, status: str) -> None:
        """A reload has begun; `ready` ends it."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell(RELOADING="1", MONOTONIC_USEC=str(now), STATUS=status)

    def stopping(self, status: str) -> None:
        """The service is about to end."""
        self._tell(STOPPING="1", STATUS=status)

    def status(self, status: str) -> None:
        """Says in words how the service is."""
        self._tell(STATUS=status)

    def alive(self) -> None:
        """The service is sound, which its watchdog wants to hear."""
        self._tell(WATCHDOG="1")

    def is_main(self) -> None:
        """This process is the service's main one from now on."""
        self._tell(MAINPID=str(os.getpid()))

    def main_pid(self, pid: int) -> None:
        """Another process is the service's main one from now on, and speaks for it."""
        self._tell(MAINPID=str(pid))
        self._place, self.watchdog = "", None

    def _tell(self, **facts: str) -> None:
        if not self._place:
            return
        text = "\n".join(f"{key}={' '.join(value.split())}" for key, value in facts.items())
        place = "\0" + self._place[1:] if self._place[0] == "@" else self._place
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                with suppress(BlockingIOError):  # it does not listen: it will hear the next
                    sock.sendto(text.encode(), place)
        except OSError as error:
            if not self._complained:
                self._complained = True
                reason = (error.strerror or str(error)).lower()
                log.warning("the service manager cannot be told (%s): %s", self._place, reason)
