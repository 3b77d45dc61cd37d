"""One private duplex channel between two processes: whole messages, with descriptors.

Guarantees: a message arrives whole or not at all; messages of several writers do not mix; sending
never waits for a reader because a message is big: what exceeds `INLINE_BYTES` travels as a nameless
file. A descriptor that could not be received is an error, never a shorter list.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Self

from .rights import CLOSED_ON_EXEC, found_in

#: bytes that go through the socket itself; several such messages fit into its buffer (208 KiB)
INLINE_BYTES: Final = 32_768
MOST_DESCRIPTORS: Final = 250  # a message; the kernel takes 253 (SCM_MAX_FD), some are our own

# plain numbers: putting two of the socket module's flags together takes longer than a system call
_AT_ONCE: Final = int(socket.MSG_DONTWAIT)
_NO_SIGNAL: Final = int(socket.MSG_NOSIGNAL)
_LOOK: Final = int(socket.MSG_PEEK)
_TRUNCATED: Final = int(socket.MSG_CTRUNC)
_INLINE, _FILE = b"i", b"f"  # how the rest of a message travels
_LOOK_UP: Final = struct.pack("ll", 0, 250_000)  # seconds and microseconds
_STDERR: Final = 2
_FD_BYTES: Final = array.array("i").itemsize
_ROOM: Final = socket.CMSG_SPACE((MOST_DESCRIPTORS + 1) * _FD_BYTES)


class Message(NamedTuple):
    """What one `send` sent.

    Attributes:
        data: The bytes.
        fds: The descriptors, which are the receiver's to close.
    """

    data: bytes
    fds: list[int]


class NoRoomError(OSError):
    """A message came whose descriptors did not fit into this process.

    Attributes:
        data: The message, without them.
    """

    data: bytes = b""


class Channel:
    """One end of a channel. Several threads and processes may send; one at a time may receive.

    Example:
        >>> ours, theirs = Channel.pair()
        >>> with ours, theirs:
        ...     ours.send(b"hello")
        ...     theirs.receive()
        Message(data=b'hello', fds=[])
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._byte = bytearray(1)
        self._looks_up = False

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Makes both ends; each is closed on exec."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(_above_standard(ours)), cls(_above_standard(theirs))

    @classmethod
    def of_descriptor(cls, fd: int) -> Channel:
        """Takes over an end that arrived as a descriptor."""
        return cls(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=fd))

    def fileno(self) -> int:
        """The descriptor to wait on: readable when a message or the end is there; -1 if closed."""
        return self._socket.fileno()

    def send(self, data: bytes, fds: Sequence[int] = (), *, wait: bool = True) -> None:
        """Sends one message.

        Args:
            data: Any number of bytes.
            fds: Descriptors to hand on; they stay open here.
            wait: Whether to wait for room; without it a full channel is a BlockingIOError.

        Raises:
            BrokenPipeError: When the other end is closed.
            ValueError: For more than 250 descriptors.
        """
        if len(fds) > MOST_DESCRIPTORS:
            raise ValueError(f"{len(fds)} descriptors are more than {MOST_DESCRIPTORS} a message")
        flags = 0 if wait else _AT_ONCE
        if len(data) <= INLINE_BYTES:
            self._send([_INLINE, data], fds, flags)
            return
        from .segments import anonymous_file  # what it imports would double a template's start

        file = anonymous_file("message", data)
        try:
            self._send([_FILE], [*fds, file], flags)
        finally:
            os.close(file)

    def _send(self, parts: list[bytes], fds: Sequence[int], flags: int) -> None:
        try:
            if fds:
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
                self._socket.sendmsg(parts, [rights], flags | _NO_SIGNAL)
            else:
                self._socket.send(b"".join(parts), flags | _NO_SIGNAL)
        except ConnectionResetError:  # closed there with a message of ours unread
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None

    def wait(self) -> None:
        """Waits until a message or the end is there; takes nothing.

        It looks up now and then: a Ctrl-C that comes just before the system call ends it too.
        """
        if not self._looks_up:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _LOOK_UP)
            self._looks_up = True
        while True:
            try:
                self._socket.recv_into(self._byte, 1, _LOOK)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                pass
            return

    def receive(self, *, wait: bool = True) -> Message:
        """Receives one message.

        Raises:
            EOFError: When the other end is closed, by its process's death too.
            BlockingIOError: When nothing is there, without `wait`.
            NoRoomError: When there was no room for its descriptors.
        """
        if wait and self._looks_up:
            self.wait()
        how = CLOSED_ON_EXEC | (0 if wait else _AT_ONCE)
        try:
            data, control, flags, _ = self._socket.recvmsg(1 + INLINE_BYTES, _ROOM, how)
        except ConnectionResetError:  # closed there with a message of ours unread
            raise EOFError("the other end of the channel is closed") from None
        if not control and data[:1] == _INLINE and not flags & _TRUNCATED:
            return Message(data[1:], [])
        fds = found_in(control)
        if flags & _TRUNCATED:
            close_all(fds)
            error = NoRoomError(errno.EMFILE, "no room for the descriptors of a message")
            error.data = data[1:] if data[:1] == _INLINE else b""
            raise error
        if not data:
            raise EOFError("the other end of the channel is closed")
        if data[:1] == _INLINE:
            return Message(data[1:], fds)
        with open(fds.pop(), "rb") as file:
            return Message(file.read(), fds)

    def refuse(self) -> None:
        """Makes every later `send` of the other end fail; what was sent can still be received."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    def end(self) -> None:
        """Ends the channel for both, and stays open: another thread may be about to use it."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def detach(self) -> int:
        """Gives the descriptor away; the channel is closed."""
        return self._socket.detach()

    def close(self) -> None:
        """Closes this end; a second call does nothing."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _above_standard(sock: socket.socket) -> socket.socket:
    """Keeps a channel off the numbers of standard streams, in a program that has closed those."""
    if sock.fileno() > _STDERR:
        return sock
    with sock:
        fd = fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, _STDERR + 1)
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=fd)


def close_all(fds: Sequence[int]) -> None:
    """Closes descriptors, some of which may be closed already."""
    for fd in fds:
        with suppress(OSError):
            os.close(fd)
