"""Memory with a descriptor and no name: shared by handing that on, freed by the kernel."""

from __future__ import annotations

import os
import sys


def anonymous_file(label: str, content: bytes = b"") -> int:
    """Opens a nameless file and fills it.

    Args:
        label: What `/proc/PID/fd` shows, for people who look.
        content: What it holds at first.

    Returns:
        A descriptor that is closed on exec, at offset 0. The caller owns it.
    """
    if sys.platform == "linux":
        fd = os.memfd_create(f"manycore-{label}", os.MFD_CLOEXEC)
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_all(fd: int) -> bytes:
    """Reads a descriptor from where it stands to its end, and closes it."""
    with open(fd, "rb") as file:
        return file.read()
