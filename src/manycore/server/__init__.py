"""The server: one listening socket, a process per core, a pool of threads in each."""

import sys

if sys.platform != "linux":
    raise ImportError(
        f"manycore's server needs Linux (epoll, pidfd, parent-death signals), not {sys.platform}; "
        "the rest of manycore works here"
    )
