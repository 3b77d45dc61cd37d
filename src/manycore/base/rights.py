"""Descriptors that come along with a message, over a Unix socket.

Guarantee: no program that is run has them. (`socket.recv_fds` of Python up to 3.13 at least does
not hand its flags on to the kernel, so it cannot promise that, and cannot peek.)
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Iterable
from typing import Final

CLOSED_ON_EXEC: Final = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))  # for `recvmsg`
_RIGHTS: Final = (socket.SOL_SOCKET, socket.SCM_RIGHTS)
_FD_BYTES: Final = array.array("i").itemsize


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
    room = socket.CMSG_LEN(most * _FD_BYTES)
    message, control, _, _ = sock.recvmsg(size, room, flags | CLOSED_ON_EXEC)
    return message, found_in(control)


def found_in(control: Iterable[tuple[int, int, bytes]]) -> list[int]:
    """Gives the descriptors that came with a message, from what `recvmsg` gave.

    It was called with `CLOSED_ON_EXEC`; where the kernel does not know that, it is done here.
    """
    fds = array.array("i")
    for level, kind, data in control:
        if (level, kind) == _RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % _FD_BYTES])
    if not CLOSED_ON_EXEC:
        for fd in fds:
            os.set_inheritable(fd, False)
    return fds.tolist()
