"""Where the results go: a file that is this run's alone, or standard output."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress

from manycore.errors import MapError


class Output:
    """Lines on their way out.

    Args:
        path: A file, which is emptied; `-` is standard output.

    Raises:
        MapError: When it cannot be written, or another run writes it.
    """

    def __init__(self, path: str) -> None:
        self._path = "standard output" if path == "-" else path
        self._pending: list[bytes] = []
        if path == "-":
            self._fd = 1
            return
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise self._failed(error) from None
        try:
            if stat.S_ISREG(os.fstat(self._fd).st_mode):
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(self._fd, 0)
        except BlockingIOError:
            os.close(self._fd)
            remedy = "wait for its end, or name another file"
            raise MapError(path, "another run is writing it", remedy) from None

    def write(self, record: bytes) -> None:
        """Takes a line; `flush` writes it."""
        self._pending.append(record)

    def flush(self) -> None:
        """Writes what was taken.

        Raises:
            MapError: When there is no room.
            BrokenPipeError: When nobody reads any more.
        """
        if not self._pending:
            return
        self._pending.append(b"")
        data = memoryview(b"\n".join(self._pending))
        self._pending.clear()
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            raise self._failed(error) from None

    def is_terminal(self) -> bool:
        """Whether people see it as it is written."""
        return os.isatty(self._fd)

    def close(self) -> None:
        """Lets go of the file; what waits is not written."""
        if self._fd > 2:  # noqa: PLR2004  # standard output is not ours
            with suppress(OSError):
                os.close(self._fd)
            self._fd = -1

    def _failed(self, error: OSError) -> MapError:
        problem = (error.strerror or str(error)).lower()
        return MapError(self._path, problem, "make room, or name another file, and run it again")
