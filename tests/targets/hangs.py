"""Handlers that hang, and some that only seem to."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import threading
import time

never = threading.Lock()
never.acquire()


def deadlock(conn: socket.socket) -> None:
    """Waits for what never comes, once its client says so."""
    conn.sendall(b"%08d" % os.getpid())
    if conn.recv(1):
        never.acquire()


def holds_the_lock(conn: socket.socket) -> None:
    """Waits in C code with the interpreter's lock held, and no signal ends that."""
    conn.sendall(b"%08d" % os.getpid())
    if conn.recv(1):
        mutex = ctypes.create_string_buffer(64)  # zeros: one that nobody has
        while True:
            ctypes.PyDLL(None).pthread_mutex_lock(mutex)


def computes(conn: socket.socket) -> None:
    """Uses a CPU, and answers at the end."""
    conn.sendall(b"%08d" % os.getpid())
    end = time.monotonic() + ord(conn.recv(1)) - ord("0")
    while time.monotonic() < end:
        pass
    conn.sendall(b"done")


async def blocks_the_loop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Waits as no coroutine may, once its client says so."""
    writer.write(b"%08d" % os.getpid())
    while await reader.read(1):
        never.acquire()


async def computes_in_the_loop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Uses a CPU, and answers at the end."""
    writer.write(b"%08d" % os.getpid())
    end = time.monotonic() + ord(await reader.read(1)) - ord("0")
    while time.monotonic() < end:
        pass
    writer.write(b"done")
