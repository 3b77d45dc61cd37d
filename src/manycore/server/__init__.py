"""The server: one listening socket, a process per core, a pool of threads in each."""

import sys

if sys.platform == "win32":
    raise ImportError("manycore's server needs Linux or another Unix: Windows cannot fork")
