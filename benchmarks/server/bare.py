"""The peer: a bare pre-forked accept-and-thread loop, with nothing around it."""

import os
import signal
import socket
import sys
import threading


def handle(conn: socket.socket) -> None:
    with conn:
        while data := conn.recv(1000):
            conn.sendall(data)


def main(workers: int) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    children = []
    for _ in range(workers):
        pid = os.fork()
        if pid == 0:
            while True:
                conn, _address = listener.accept()
                conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=handle, args=(conn,), daemon=True).start()
        children.append(pid)
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()  # until the benchmark lets go of us
    for pid in children:
        os.kill(pid, signal.SIGKILL)


main(int(sys.argv[1]))
