"""A program written for the standard library's `socketserver`, on every core.

Only the import is another one. Run it: python examples/socketserver_echo.py [PORT]
"""

import sys

from manycore.compat import socketserver


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(1000):
            self.request.sendall(data)


if __name__ == "__main__":
    address = ("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8888)
    with socketserver.ThreadingTCPServer(address, Echo) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
