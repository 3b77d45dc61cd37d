"""TCP connections that are not made yet: the client's last acknowledgment is still on its way.

The client may believe that it is connected by then. The kernel holds such a connection apart from
the queue that `accept` empties, and gives it up when the listener is closed.
"""

from __future__ import annotations

import re
import socket
from contextlib import suppress

_TABLES = {
    socket.AF_INET: ("/proc/net/tcp",),
    socket.AF_INET6: ("/proc/net/tcp", "/proc/net/tcp6"),  # it may take clients of both kinds
}


def count(table: bytes, port: int) -> int:
    """Counts those of a port in a table of the kernel's (man 5 proc_pid_net).

    Example:
        >>> line = b"   2: 0100007F:1F90 0200007F:C350 03 00000000:00000000 01:00000063 00000000"
        >>> count(line, 8080), count(line, 8081)
        (1, 0)
    """
    of_port = rb"^ *\d+: [0-9A-F]+:%04X [0-9A-F]+:[0-9A-F]+ 03 " % port  # TCP_SYN_RECV
    return len(re.findall(of_port, table, re.MULTILINE))


def under_way(listener: socket.socket) -> int:
    """Counts those of a listener; 0 where the kernel does not say."""
    found = 0
    for name in _TABLES.get(socket.AddressFamily(listener.family), ()):
        with suppress(OSError), open(name, "rb") as file:
            found += count(file.read(), listener.getsockname()[1])
    return found
