"""Descriptors that come along with a message, over a Unix socket.

Guarantee: no program that is run has them. (`socket.recv_fds` of Python up to 3.13 at least does
not hand its flags on to the kernel, so it cannot promise that, and cannot peek.)
"""

from __future__ import annotations

import array
import os
import socket
from typing import Final

_CLOEXEC: Final = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
_RIGHTS: Final = (socket.SOL_SOCKET, socket.SCM_RIGHTS)


def receive(sock: socket.socket, size: int, most: int, flags: int = 0) -> tuple[bytes, list[int]]:
    """Receives a message, and the descriptors that came with it.

    Args:
        sock: Where.
        size: Bytes of the message at most; what is beyond is lost.
        most: Descriptors at most; what is beyond is closed.
        flags: As for `recv`.

    Raises:
        BlockingIOError: When there is none, and the socket does not block.

    Example:
        >>> here, there = socket.socketpair()
        >>> _ = socket.send_fds(there, [b"hello"], [there.fileno()])
        >>> message, (fd,) = receive(here, 100, 1)
        >>> message, os.get_inheritable(fd)
        (b'hello', False)
        >>> for one in (fd, here.detach(), there.detach()):
        ...     os.close(one)
    """
    found = array.array("i")
    room = socket.CMSG_LEN(most * found.itemsize)
    message, control, _, _ = sock.recvmsg(size, room, flags | _CLOEXEC)
    for *kind, data in control:
        if tuple(kind) == _RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    if not _CLOEXEC:
        for fd in found:
            os.set_inheritable(fd, False)
    return message, list(found)
