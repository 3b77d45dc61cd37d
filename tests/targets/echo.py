"""Handlers that the tests serve."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import socketserver
import subprocess
import sys
from typing import Any


def handle(conn: socket.socket) -> None:
    """Sends back what it gets."""
    while data := conn.recv(1000):
        conn.sendall(data)


def named(conn: socket.socket) -> None:
    """Says which process it is, then sends back what it gets."""
    conn.sendall(b"%08d" % os.getpid())
    handle(conn)


def with_address(conn: socket.socket, address: Any) -> None:
    """Says where its client comes from."""
    conn.sendall(repr(address).encode())


class Lines(socketserver.StreamRequestHandler):
    """Sends each line back, in capitals."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


class Greeter:
    """An object that can be called."""

    def __init__(self, greeting: bytes) -> None:
        self.greeting = greeting

    def __call__(self, conn: socket.socket) -> None:
        conn.sendall(self.greeting)


class Nested:
    """A place for a dotted name."""

    greet = Greeter(b"hello")


def fails(conn: socket.socket) -> None:
    """Raises what the client names, or sends back what it gets."""
    match conn.recv(1000):
        case b"error":
            raise ValueError("the client asked for it")
        case b"exit":
            sys.exit(3)
        case b"interrupt":
            raise KeyboardInterrupt
        case b"die":
            os.kill(os.getpid(), signal.SIGKILL)
        case data:
            conn.sendall(data)


def stubborn(conn: socket.socket) -> None:
    """Never returns, whatever happens to its connection."""
    conn.sendall(b"%08d" % os.getpid())
    while True:
        subprocess.run(["sleep", "1000"], check=False)


def starts_a_program(conn: socket.socket) -> None:
    """Starts a program that outlives it, says its id, and then computes in C for ever."""
    program = subprocess.Popen(["sleep", "1000"])
    conn.sendall(b"%08d%08d" % (os.getpid(), program.pid))
    conn.recv(1)
    ctypes.PyDLL(None).sleep(1000)  # with the interpreter's lock held


def forks(conn: socket.socket) -> None:
    """Forks, and returns in both processes."""
    if os.fork() == 0:
        conn.sendall(b"child")
    else:
        os.wait()
        conn.sendall(b"parent")


def ends_a_child(conn: socket.socket) -> None:
    """Forks children that are told to end at once, and says how each ended, and its own id."""
    found = []
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            try:
                signal.alarm(10)
                signal.pause()
            finally:
                os._exit(1)
        os.kill(pid, signal.SIGTERM)
        found.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    conn.sendall(f"{set(found)} {os.getpid()}".encode())


def closes_the_descriptor(conn: socket.socket) -> None:
    """Closes the connection under the server's hands."""
    conn.sendall(b"bye")
    os.close(conn.fileno())


def modules(conn: socket.socket) -> None:
    """Lists what the worker has imported."""
    conn.sendall(" ".join(sys.modules).encode())


def open_descriptors(conn: socket.socket) -> None:
    """Lists what the worker has open."""
    names = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            names.append(os.readlink(f"/proc/self/fd/{fd}"))
    conn.sendall("\n".join(names).encode())


class Unready:
    """An object whose preparation fails in every worker."""

    @property
    def __signature__(self) -> object:
        raise LookupError("the model file is not there")

    def __call__(self, conn: socket.socket) -> None:
        """Is never called."""


unready = Unready()


async def coroutine(conn: socket.socket) -> None:
    """Is no handler yet."""


not_callable = 42


def whence(conn: socket.socket, address: object) -> None:
    """Says whose connection it is, then sends back what it gets."""
    conn.sendall(f"{address}\n".encode())
    handle(conn)
