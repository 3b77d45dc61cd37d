"""The file that says which process a server is.

Guarantees: a file whose server lives is refused, and one that a killed server left is replaced,
whichever process has its number by now: what counts is a lock that only a living one holds. A file
that is no pid file is never touched. Only a file of ours is removed.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from typing import Final, Self

from manycore.errors import PidFileError

_LONGEST: Final = 64  # bytes: more than a number needs
_MODE: Final = 0o644  # others may read who it is


class PidFile:
    """A pid file that this process holds.

    Args:
        path: Where it is.

    Raises:
        PidFileError: When a living server has it, when it holds something else, or when it cannot
            be written.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        try:
            self.fd = _open(self.path)
            self.write()
        except OSError as error:
            problem = (error.strerror or str(error)).lower()
            raise PidFileError(path, problem, "choose another path") from None

    @classmethod
    def taken_over(cls, path: str, fd: int) -> Self:
        """Gives a file that another server held until now, and handed its descriptor to us."""
        file = cls.__new__(cls)
        file.path, file.fd = os.path.abspath(path), fd
        return file

    def write(self) -> None:
        """Writes this process's id."""
        text = b"%d\n" % os.getpid()
        os.pwrite(self.fd, text, 0)
        os.truncate(self.fd, len(text))

    def close(self) -> None:
        """Removes the file, if it is still ours; twice is once."""
        if self.fd < 0:
            self._sweep()
            return
        with suppress(OSError):
            if _is_at(self.fd, self.path):
                os.unlink(self.path)
        self.let_go()

    def let_go(self) -> None:
        """Leaves the file to a process that has been given its descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def is_at(self, path: str) -> bool:
        """Whether the file is the one that is there."""
        return self.fd >= 0 and _is_at(self.fd, path)

    def _sweep(self) -> None:
        """Removes the file if it still names this process: whoever it was left to has another."""
        with suppress(OSError):
            fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.pread(fd, _LONGEST, 0).strip() == b"%d" % os.getpid():
                    os.unlink(self.path)
            finally:
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _open(path: str) -> int:
    """Opens and locks the file; gives its descriptor."""
    while True:
        said = b""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
        try:
            said = os.pread(fd, _LONGEST, 0)
            if not re.fullmatch(rb"\s*[0-9]*\s*", said):
                raise PidFileError(path, "it holds something else", "choose another path")
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(fd, path):
                return fd
        except BlockingIOError:
            os.close(fd)
            who = said.strip().decode() or "which is starting"
            raise PidFileError(
                path, f"a server has it that runs (pid {who})", "stop that, or choose another path"
            ) from None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its owner has just removed it


def _is_at(fd: int, path: str) -> bool:
    try:
        found, ours = os.lstat(path), os.fstat(fd)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)
