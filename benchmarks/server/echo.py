"""What the servers here serve."""

import os
import socket


def handle(conn: socket.socket) -> None:
    """Sends back what it gets."""
    while data := conn.recv(1000):
        conn.sendall(data)


def named(conn: socket.socket) -> None:
    """The same, after it has said which process it is."""
    conn.sendall(b"%08d" % os.getpid())
    handle(conn)
