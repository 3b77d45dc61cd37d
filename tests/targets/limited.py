"""An echo server in a process that may have little."""

from __future__ import annotations

import json
import os
import resource
import socket

for name, limit in json.loads(os.environ["LIMIT"]).items():
    resource.setrlimit(getattr(resource, name), (limit, limit))


def handle(conn: socket.socket) -> None:
    """Sends back what it gets."""
    while data := conn.recv(1000):
        conn.sendall(data)
