"""An echo server.

To run it on every core::

manycore serve examples/echo.py:handle --bind 127.0.0.1:8888
"""

import socket


def handle(conn: socket.socket) -> None:
    while data := conn.recv(1000):
        conn.sendall(data)
