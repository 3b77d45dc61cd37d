"""A connection whose methods let other greenlets run while they wait.

Guarantees: it is a `socket.socket` and behaves like a blocking one, timeouts included; used by
another thread it blocks that thread, and not the hub's.

After a read that gave less than was asked for, the next one waits without asking the kernel first:
over TCP, less means that there is no more (man 7 epoll, question 9). It means nothing once the peer
has closed its side or sent urgent data, nor on Unix sockets, where a message that carries
descriptors ends a read.

Until there once was more, `recv` asks for few bytes first. What else is there it reads too, so that
nobody sees a difference.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import sys
import termios
import time
from array import array
from collections.abc import Callable
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, TypeVar

from greenlet import getcurrent

from .hub import Hub, Waiter, Watched

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

T = TypeVar("T")

SPREE: Final = 64  # reads without a wait, after which others get their turn
# bytes of a first read, as Python's own allocator has them; malloc would cut off what did not come
SMALL: Final = 512 - sys.getsizeof(b"")
_ANY: Final = sys.maxsize
_SHORTEST: Final = 1e-6  # seconds: a wait that is late, and not one that must not wait
_FILE_CHUNK: Final = 1 << 20  # bytes of a file that one system call may send

# the system calls themselves
_recv = socket.socket.recv
_recv_into = socket.socket.recv_into
_send = socket.socket.send


class GreenConnection(socket.socket):
    """One connection of a hub.

    Args:
        hub: Who wakes it.
        conn: The accepted socket; its descriptor moves here.
    """

    __slots__ = ("_at_first", "_hub", "_own", "_spree", "_timeout", "reading", "writing")

    def __init__(self, hub: Hub, conn: socket.socket) -> None:
        family = conn.family
        super().__init__(family, conn.type, conn.proto, conn.detach())
        super().setblocking(False)
        self._hub = hub
        # the greenlet that is known to run in the hub's thread, and waits in the shortest way
        self._own = getcurrent() if get_ident() == hub.thread else None
        self._spree = 0
        self._at_first = SMALL if family != socket.AF_UNIX else _ANY
        self._timeout: float | None = None
        self.reading = Waiter(hub, over=family == socket.AF_UNIX)
        self.writing = Waiter(hub, ready=True)
        hub.watch(self.fileno(), self)

    # What is called most.

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receives at most so many bytes; none when the peer has closed its side."""
        if flags:
            return self._recv_with_flags(bufsize, flags)
        side = self.reading
        while True:
            if not side.ready:
                me = getcurrent()
                if me is self._own and self._timeout is None and side.waiting is None:
                    side.waiting = me  # `_await` without its calls
                    try:
                        self._hub.next().switch()
                    finally:
                        side.waiting = None
                else:
                    self._await(side, self._timeout)
            size = bufsize if bufsize < self._at_first else self._at_first  # noqa: FURB136  # faster
            try:
                data = _recv(self, size)
            except BlockingIOError:
                side.ready = False
                if self._timeout == 0.0:
                    raise
                continue
            if len(data) < size and not side.over:
                side.ready = False
            elif len(data) == size < bufsize:
                return self._read_on(data, bufsize)
            else:
                self._give_way()
            return data

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        """Receives into a buffer; gives the number of bytes."""
        if flags:
            data = self._recv_with_flags(nbytes or memoryview(buffer).nbytes, flags)
            memoryview(buffer).cast("B")[: len(data)] = data
            return len(data)
        side = self.reading
        while True:
            if not side.ready:
                self._await(side, self._timeout)
            try:
                count = _recv_into(self, buffer, nbytes)
            except BlockingIOError:
                side.ready = False
                if self._timeout == 0.0:
                    raise
                continue
            if not side.over and count < (nbytes or memoryview(buffer).nbytes):
                side.ready = False
            else:
                self._give_way()
            return count

    def sendall(self, data: ReadableBuffer, flags: int = 0, /) -> None:
        """Sends everything; the timeout is for all of it."""
        if self.writing.ready:
            try:
                sent = _send(self, data, flags)
                if type(data) is bytes and sent == len(data):
                    return
            except BlockingIOError:
                sent = 0
                if self._timeout == 0.0:
                    raise
        else:
            sent = 0
        self._send_rest(memoryview(data).cast("B")[sent:], flags)

    def send(self, data: ReadableBuffer, flags: int = 0, /) -> int:
        """Sends what there is room for, at least one byte; gives the number of bytes."""
        return self._write(lambda: _send(self, data, flags))

    # What is called less.

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """Receives bytes and their sender's address."""
        call = super().recvfrom
        return self._read(lambda: call(bufsize, flags))

    def recvfrom_into(
        self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0
    ) -> tuple[int, Any]:
        """Receives into a buffer; gives the number of bytes and their sender's address."""
        call = super().recvfrom_into
        return self._read(lambda: call(buffer, nbytes, flags))

    def recvmsg(self, bufsize: int, *rest: int) -> Any:
        """Receives a message with what accompanies it."""
        call = super().recvmsg
        return self._read(lambda: call(bufsize, *rest))

    def recvmsg_into(self, buffers: Any, *rest: int) -> Any:
        """Receives a message into buffers."""
        call = super().recvmsg_into
        return self._read(lambda: call(buffers, *rest))

    def sendmsg(self, buffers: Any, *rest: Any) -> int:
        """Sends a message with what accompanies it."""
        call = super().sendmsg
        return self._write(lambda: call(buffers, *rest))

    def sendto(self, data: ReadableBuffer, *rest: Any) -> int:
        """Sends; a stream knows where."""
        call: Callable[..., int] = super().sendto
        return self._write(lambda: call(data, *rest))

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Sends a file from an offset on to its end, or so many bytes of it; gives their number."""
        self._check_sendfile_params(file, offset, count)  # type: ignore[attr-defined]
        if self._timeout == 0.0:
            raise ValueError("non-blocking sockets are not supported")
        try:
            source = file.fileno()
        except (AttributeError, OSError):  # no file of the system's
            fallback: Callable[..., int] = self._sendfile_use_send  # type: ignore[attr-defined]
            return fallback(file, offset, count)
        start = offset
        try:
            while count is None or offset - start < count:
                size = _FILE_CHUNK if count is None else min(_FILE_CHUNK, count - offset + start)
                sent = self._write(lambda: os.sendfile(self.fileno(), source, offset, size))  # noqa: B023
                if not sent:
                    break
                offset += sent
        finally:
            if hasattr(file, "seek"):
                file.seek(offset)
        return offset - start

    # Timeouts: the descriptor never blocks, whatever is set.

    def settimeout(self, value: float | None, /) -> None:
        """Sets for how many seconds an operation may wait; None: as long as it takes."""
        if value is not None and not value >= 0:
            raise ValueError("Timeout value out of range")
        self._timeout = None if value is None else float(value)

    def gettimeout(self) -> float | None:
        """For how many seconds an operation may wait."""
        return self._timeout

    @property
    def timeout(self) -> float | None:
        """For how many seconds an operation may wait."""
        return self._timeout

    def setblocking(self, flag: bool, /) -> None:  # noqa: FBT001  # the standard library's
        """Sets whether operations wait."""
        self._timeout = None if flag else 0.0

    def getblocking(self) -> bool:
        """Whether operations wait."""
        return self._timeout != 0.0

    # Endings.

    def dup(self) -> GreenConnection:
        """Gives another object for the same connection."""
        fd = os.dup(self.fileno())
        return GreenConnection(self._hub, socket.socket(self.family, self.type, self.proto, fd))

    def detach(self) -> int:
        """Gives the descriptor away, in the state of one that blocks."""
        self._leave_hub()
        fd = super().detach()
        if fd >= 0:
            self._hub.unwatch(fd)
            os.set_blocking(fd, True)
        return fd

    def _real_close(self, *arguments: Any) -> None:
        self._leave_hub()
        super()._real_close(*arguments)  # type: ignore[misc]  # where close() and its files meet

    def _leave_hub(self) -> None:
        fd = self.fileno()
        if fd < 0:
            return
        self._hub.forget(fd, self)
        for side in (self.reading, self.writing):
            if side.waiting is not None:  # in another greenlet: the descriptor is bad, it will see
                self._hub.call(side.wake)

    # How they wait.

    def _await(self, side: Waiter, timeout: float | None) -> None:
        if timeout != 0.0:  # else the system call itself tells
            await_side(self, self._hub, side, timeout)

    def _give_way(self) -> None:
        """A client that is always faster than we are must not keep all others waiting."""
        self._spree += 1
        if self._spree >= SPREE:
            self._spree = 0
            if get_ident() == self._hub.thread:
                self._hub.step_aside()

    def _read_on(self, data: bytes, bufsize: int) -> bytes:
        """Reads what else is there, and just that: the next call tells of a failure."""
        self._at_first = _ANY
        side, room = self.reading, bufsize - len(data)
        there = array("i", [0])
        with suppress(OSError):  # another thread was faster
            fcntl.ioctl(self, termios.FIONREAD, there)
            if there[0]:
                data += _recv(self, min(room, there[0]))
        if there[0] < room and not side.over:
            side.ready = False
        else:
            self._give_way()
        return data

    def _read(self, call: Callable[[], T]) -> T:
        return self._repeat(self.reading, call, self._timeout)

    def _write(self, call: Callable[[], int]) -> int:
        return self._repeat(self.writing, call, self._timeout)

    def _repeat(self, side: Waiter, call: Callable[[], T], timeout: float | None) -> T:
        while True:
            if not side.ready:
                self._await(side, timeout)
            try:
                result = call()
            except BlockingIOError:
                side.ready = False
                if timeout == 0.0:
                    raise
                continue
            if side is self.reading:
                self._give_way()
            return result

    def _recv_with_flags(self, bufsize: int, flags: int) -> bytes:
        timeout = 0.0 if flags & socket.MSG_DONTWAIT else self._timeout
        data = self._repeat(self.reading, lambda: _recv(self, bufsize, flags), timeout)
        if not flags & socket.MSG_WAITALL or flags & socket.MSG_PEEK or timeout == 0.0:
            return data
        chunks = [data]
        missing = bufsize - len(data)
        while missing and chunks[-1]:
            chunks.append(
                self._repeat(self.reading, lambda: _recv(self, missing, flags), timeout)  # noqa: B023
            )
            missing -= len(chunks[-1])
        return b"".join(chunks)

    def _send_rest(self, data: memoryview, flags: int) -> None:
        left = self._timeout
        deadline = time.monotonic() + left if left else None
        while data:
            if deadline is not None:
                left = max(_SHORTEST, deadline - time.monotonic())
            sent = self._repeat(self.writing, lambda: _send(self, data, flags), left)  # noqa: B023
            data = data[sent:]


def await_side(conn: Watched, hub: Hub, side: Waiter, timeout: float | None) -> None:
    """Waits for one side of a hub's connection; in another thread than the hub's it blocks that.

    Raises:
        TimeoutError: It took longer than so many seconds.
    """
    is_for_room = side is conn.writing
    if get_ident() == hub.thread:
        if is_for_room:
            hub.watch_room(conn.fileno())
        woken = side.wait(timeout)
    else:
        poller = select.poll()
        poller.register(conn.fileno(), select.POLLOUT if is_for_room else select.POLLIN)
        woken = bool(poller.poll(None if timeout is None else timeout * 1000))
    if not woken:
        raise TimeoutError("timed out")
