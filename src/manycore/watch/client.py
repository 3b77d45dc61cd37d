"""The control socket, the half of whoever asks."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from manycore.errors import ControlError

from .protocol import LONGEST_LINE, ProtocolError, Request, decode_answer, encode_request

PATIENCE = 10.0  # seconds for an answer that needs no wait


class ControlClient:
    """A connection to a running server.

    Args:
        path: The server's control socket.

    Raises:
        ControlError: When nobody listens there.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._conn = socket.socket(socket.AF_UNIX)
        self._conn.settimeout(PATIENCE)
        try:
            with self._errors():
                self._conn.connect(path)
        except BaseException:
            self._conn.close()
            raise

    def ask(self, verb: str, *, timeout: float | None = PATIENCE, **arguments: Any) -> Any:
        """Asks for something and gives the answer.

        Args:
            verb: What to do.
            timeout: Seconds to wait for the answer; None: as long as it takes.
            **arguments: What the verb knows.

        Raises:
            ControlError: When there is no answer, or the answer is an error.
        """
        with self._errors():
            self._conn.sendall(encode_request(Request(verb, arguments)))
            line = self._read_line(timeout)
        if not line:
            raise ControlError(self._path, "the server ended before it answered", "see its log")
        try:
            answer = decode_answer(line)
        except ProtocolError as error:
            remedy = "use the manycore that the server runs"
            raise ControlError(self._path, str(error), remedy) from None
        if answer.error:
            details = answer.result.get("details", "") if isinstance(answer.result, dict) else ""
            raise ControlError(self._path, answer.error, "see the server's log", details)
        return answer.result

    def wait_for_end(self, timeout: float | None = None) -> None:
        """Waits until the server has ended: then it lets go of its clients.

        Raises:
            ControlError: When it has not in time.
        """
        with self._errors():
            self._read_line(timeout)

    def _read_line(self, timeout: float | None) -> bytes:
        """Reads until the line or the connection ends."""
        deadline = None if timeout is None else time.monotonic() + timeout
        received = b""
        while not received.endswith(b"\n"):
            self._conn.settimeout(deadline and max(0.001, deadline - time.monotonic()))
            try:
                data = self._conn.recv(LONGEST_LINE)
            except ConnectionResetError:  # it ended with something of ours unread
                data = b""
            if not data:
                return b""
            received += data
        return received

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            remedy = "see whether its supervisor still runs"
            raise ControlError(self._path, "no answer in time", remedy) from None
        except OSError as error:
            problem = (error.strerror or str(error)).lower()
            raise ControlError(self._path, problem, "see whether the server still runs") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._conn.close()
