"""The peer: a bare pre-forked uvloop loop with a protocol, and nothing around it.

python benchmarks/server/bare_uvloop.py [thread] WORKERS

With `thread`, each process has one thread more, which only waits.
"""

import asyncio
import os
import select
import signal
import socket
import sys
import threading

import uvloop


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[attr-defined]  # uvloop's is no asyncio.Transport


async def serve(listener: socket.socket) -> None:
    """Accepts by turns, so that no process has more connections than another."""
    loop = asyncio.get_running_loop()
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)
    tasks = set()

    def accept() -> None:
        epoll.poll(0)
        try:
            conn, _address = listener.accept()
        except BlockingIOError:
            return
        epoll.unregister(listener)
        epoll.register(listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        conn.setblocking(False)
        task = loop.create_task(loop.connect_accepted_socket(Echo, conn))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_reader(epoll, accept)
    await loop.create_future()


def main(workers: int, *, with_thread: bool) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    children = []
    for _ in range(workers):
        pid = os.fork()
        if pid == 0:
            if with_thread:
                threading.Thread(target=threading.Event().wait, daemon=True).start()
            uvloop.run(serve(listener))
        children.append(pid)
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()  # until the benchmark lets go of us
    for pid in children:
        os.kill(pid, signal.SIGKILL)


main(int(sys.argv[-1]), with_thread="thread" in sys.argv)
