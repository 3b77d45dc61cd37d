"""What this kernel has beyond POSIX. Decided here, once, for whoever needs it or stands in for it.

Linux has all of it. Elsewhere each of these has a substitute, which is slower or promises less, or
is left out; none of them is looked for anywhere else.
"""

from __future__ import annotations

import os
import select
import sys
from typing import Final

#: workers in a line for a listener, woken one a connection; edge-triggered events
HAS_EPOLL: Final = hasattr(select, "EPOLLEXCLUSIVE")
#: a descriptor that tells of a process's end
HAS_PIDFD: Final = hasattr(os, "pidfd_open")
#: a descriptor that only counts
HAS_EVENTFD: Final = hasattr(os, "eventfd")
#: a kernel that kills whoever is left when a parent ends
ENDS_ORPHANS: Final = sys.platform == "linux"
#: a listener that hears no newcomer, and whose queue is served nevertheless
FILTERS_SOCKETS: Final = sys.platform == "linux"
#: a descriptor in a message that is only peeked at is the reader's own
GIVES_WHAT_IS_PEEKED: Final = sys.platform == "linux"
#: what a process, its threads and its sockets do, for others to read
HAS_PROC: Final = os.path.exists("/proc/self/stat")


def require_pidfd(what: str) -> None:
    """Says that a subject needs Linux, where it does.

    Raises:
        ImportError: When the kernel has no pidfd.
    """
    if not HAS_PIDFD:
        raise ImportError(f"{what} needs Linux, whose kernel tells when a process ends")


def missing() -> list[str]:
    """Says what this kernel lacks, for people.

    Example:
        >>> "EPOLLEXCLUSIVE" in missing()
        False
    """
    facts = {
        "EPOLLEXCLUSIVE": HAS_EPOLL,
        "pidfd": HAS_PIDFD,
        "eventfd": HAS_EVENTFD,
        "parent-death signals": ENDS_ORPHANS,
        "socket filters": FILTERS_SOCKETS,
        "/proc": HAS_PROC,
    }
    return [name for name, there in facts.items() if not there]
