"""Makes this kernel look like one that is not Linux, before anything else is imported.

What such a kernel lacks is taken away, by the beginnings of the names under which Python offers it:
those that typeshed does not list for macOS, as far as a server could meet them.
"""

from __future__ import annotations

import builtins
import errno
import importlib
import io
import os
import sys
import sysconfig
from typing import Any

#: in this order: the socket module imports what looks at the select module
LACKING = {
    "select": ("epoll", "EPOLL"),
    "os": (
        "eventfd",
        "EFD_",
        "memfd_create",
        "MFD_",
        "pidfd_open",
        "pipe2",
        "posix_fallocate",
        "sched_",
        "setres",
        "getres",
        "splice",
        "waitid",
    ),
    "signal": ("pidfd_send_signal", "SIGRTM", "SIGCLD", "SIGPOLL", "SIGPWR", "sigtimedwait"),
    "socket": ("MSG_CMSG_CLOEXEC", "SOCK_CLOEXEC", "SOCK_NONBLOCK", "TCP_INFO", "SO_PEERCRED"),
    "fcntl": ("F_SETSIG", "F_GETSIG"),
    "errno": ("ENONET",),
    "time": ("CLOCK_BOOTTIME",),
}
LOOKS = ((builtins, "open"), (io, "open"), (os, "listdir"), (os, "stat"))


def take_away() -> None:
    """Removes what is Linux's alone from the standard library's modules."""
    for name, beginnings in LACKING.items():
        module = importlib.import_module(name)
        for offered in dir(module):
            if offered.startswith(beginnings):
                delattr(module, offered)


def hide(place: Any, name: str) -> None:
    """Lets a function find nothing of what Linux tells of processes in files."""
    original = getattr(place, name)

    def look(path: Any = ".", *rest: Any, **more: Any) -> Any:
        if isinstance(path, str | os.PathLike) and os.fspath(path).startswith("/proc/"):
            raise FileNotFoundError(errno.ENOENT, "there is no /proc", path)
        return original(path, *rest, **more)

    setattr(place, name, look)


take_away()
for where, what in LOOKS:
    hide(where, what)
sysconfig.get_config_vars()  # read while they can be found
sys.platform = "darwin"
