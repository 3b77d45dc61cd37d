"""The peer: gevent's StreamServer, pre-forked on one listener."""

import os
import signal
import sys
from typing import Any

import gevent
from gevent import socket
from gevent.server import StreamServer


def handle(conn: Any, _address: Any) -> None:
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := conn.recv(1000):
        conn.sendall(data)


def main(workers: int) -> None:
    # one accept a wake-up: by default a process takes a hundred, and its sibling few
    server = StreamServer(("127.0.0.1", 0), handle, backlog=1024)
    server.max_accept = 1
    server.init_socket()
    children = []
    for _ in range(workers):
        pid = gevent.fork()
        if pid == 0:
            server.serve_forever()
        children.append(pid)
    print(server.socket.getsockname()[1], flush=True)
    sys.stdin.read()  # until the benchmark lets go of us
    for pid in children:
        os.kill(pid, signal.SIGKILL)


main(int(sys.argv[1]))
