"""A server beside a program that has its own work, and threads of its own."""

import socket
import threading

import manycore

GREETING = b"hello "


def greet(conn: socket.socket, address: tuple[str, int]) -> None:
    host, _port = address
    conn.sendall(GREETING + host.encode() + b"\n")


def main() -> None:
    """Starts a thread, serves, and is its own client."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    with manycore.Server(greet, bind="127.0.0.1:0", workers=2, log_level="warning") as server:
        with socket.create_connection(server.addresses[0]) as conn:
            print(conn.makefile().readline(), end="")
        print(server)
    done.set()
    thread.join()


if __name__ == "__main__":
    main()
