"""Where the workers of a server share state. Made when the first of them asks for it.

Guarantees: all workers of a server, of every generation, find the same place; it is removed when
the supervisor ends, and after a `kill -9` of everybody by the next manager that starts; a server
whose handlers share nothing pays for a nameless file of no bytes.
"""

from __future__ import annotations

import fcntl
import os
import threading
from typing import Final

from manycore.base import life
from manycore.base.segments import anonymous_file

_LONGEST: Final = 4096  # bytes: PATH_MAX, linux/limits.h


class SharedPlace:
    """The place, as the supervisor makes it and its forked workers have it."""

    def __init__(self) -> None:
        self._fd = anonymous_file("shared")
        self._maker = life.name()  # the supervisor's: the place lives as long as that
        self._lock = threading.Lock()  # the file's lock is the whole process's

    def path(self) -> str:
        """Gives the directory; makes it if nobody has."""
        from manycore.state import home

        with self._lock:
            fcntl.lockf(self._fd, fcntl.LOCK_EX)
            try:
                path = self._read()
                if not path:
                    path = home.create_private(None, maker=self._maker).path
                    os.pwrite(self._fd, os.fsencode(path), 0)
            finally:
                fcntl.lockf(self._fd, fcntl.LOCK_UN)
        return path

    def close(self) -> None:
        """Removes what was made; called by the supervisor, last of all."""
        path = self._read()
        os.close(self._fd)
        if path:
            from manycore.state import home

            home.remove(path)

    def _read(self) -> str:
        return os.fsdecode(os.pread(self._fd, _LONGEST, 0))
