"""Ten thousand slow clients: manycore serve --mode greenlets echo_greenlets.py:handle."""

import socket

import manycore


def handle(conn: socket.socket) -> None:
    """Sends back what it gets, a moment later: nobody else waits for that moment."""
    while data := conn.recv(1000):
        manycore.sleep(0.1)
        conn.sendall(data)
