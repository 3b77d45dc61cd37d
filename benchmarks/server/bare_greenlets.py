"""The peer: the least that greenlets over epoll can be in Python, and nothing around it.

It knows no timeouts, no other threads and no failures, and reads no long messages. What it takes is
what Python, greenlet and the kernel take; a server that does more cannot be faster.
"""

import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator

from greenlet import getcurrent, greenlet

waiting: dict[int, greenlet] = {}
lots: list[Iterator[tuple[int, int]]] = [iter(())]  # the last of events
root = getcurrent()


def after_this_one() -> greenlet:
    for fd, _ in lots[0]:
        if fd in waiting:
            return waiting[fd]
    return root


class Connection(socket.socket):
    __slots__ = ("fd",)
    fd: int

    def recv(self, _size: int, _flags: int = 0, /) -> bytes:
        waiting[self.fd] = getcurrent()
        after_this_one().switch()
        return socket.socket.recv(self, 400)  # more is slower


def handle(conn: Connection) -> None:
    while data := conn.recv(1000):
        conn.sendall(data)
    waiting.pop(conn.fd, None)


def serve(listener: socket.socket) -> None:
    threading.Thread(target=threading.Event().wait).start()  # a server has others too
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)
    while True:
        came = epoll.poll()
        lots[0] = iter(came)
        while (one := after_this_one()) is not root:
            one.switch()
        if any(fd == listener.fileno() for fd, _ in came):
            conn, _ = listener.accept()
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ours = Connection(conn.family, conn.type, conn.proto, conn.detach())
            ours.setblocking(False)
            ours.fd = ours.fileno()
            epoll.register(ours, select.EPOLLIN | select.EPOLLET)
            greenlet(handle).switch(ours)


def main(workers: int) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    children = []
    for _ in range(workers):
        pid = os.fork()
        if pid == 0:
            serve(listener)
        children.append(pid)
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()  # until the benchmark lets go of us
    for pid in children:
        os.kill(pid, signal.SIGKILL)


main(int(sys.argv[1]))
