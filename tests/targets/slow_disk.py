"""Handlers whose first offload takes until somebody else was answered."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from typing import Any

import manycore

answered = threading.Event()


class SlowDisk:
    """A finder that keeps who imports the pool waiting."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "manycore.pool.classic" and not answered.wait(10):
            raise ImportError("nobody else was answered meanwhile")


sys.meta_path.insert(0, SlowDisk())  # it finds nothing, ever


def handle(conn: socket.socket) -> None:
    while word := conn.recv(100).decode():
        if word == "offload":
            conn.sendall(str(manycore.offload(pow, 2, 10)).encode())
        else:
            conn.sendall(word.encode())
            answered.set()


async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while word := (await reader.read(100)).decode():
        if word == "offload":
            writer.write(str(await manycore.offload(pow, 2, 10)).encode())
        else:
            writer.write(word.encode())
            answered.set()
