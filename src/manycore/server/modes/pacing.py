"""uvicorn's HTTP protocols, but for clients that ask and never wait, or never come to an end.

The originals read on after each answer, whatever is left of what was read before: a client that
sends requests without an end makes them hold ever more of those, and keeps all others waiting while
they are parsed. Here no more is parsed, or read, than a slice beyond what is being answered. And
what comes without a request's head or body getting any further has a bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from uvicorn.protocols.http.flow_control import FlowControl

SLICE: Final = 4096  # bytes that are parsed at once: a hundred small requests, some milliseconds

MOST_HEAD: Final = (
    65_536  # bytes of a head, of trailers, of a chunk's extensions: few clients need 8,192
)


class _Flow(FlowControl):
    """What a protocol asks for; whether it can have it, is the other's to say."""

    def __init__(self, transport: asyncio.Transport, protocol: Any) -> None:
        super().__init__(transport)
        self._protocol = protocol

    def resume_reading(self) -> None:
        """Goes on with what was read before, and then reads on."""
        if self.read_paused:
            self.read_paused = False
            self._protocol.go_on_soon()

    def read(self) -> None:
        """Lets the transport read on."""
        self._transport.resume_reading()


class _Pacing:
    """Takes a slice at a time; to be mixed into one of uvicorn's protocols."""

    flow: _Flow
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    pipeline: Sequence[object] = ()  # requests that are parsed and not begun, where there are such
    _left = b""  # read, but not parsed yet from `_at` on; the transport is paused meanwhile
    _at = 0
    _going_on = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)  # type: ignore[misc]  # the protocol's
        self.flow = _Flow(transport, self)

    def data_received(self, data: bytes) -> None:
        if len(data) <= SLICE and not self._left:  # as nearly always
            super().data_received(data)  # type: ignore[misc]  # the protocol's
        else:
            self._left, self._at = self._left[self._at :] + data, 0
            self._take_slices()

    def go_on_soon(self) -> None:
        """Goes on after whoever calls; it may still say that it has enough."""
        if not self._going_on:
            self._going_on = True
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._going_on = False
        if self.pipeline:  # it asks again with the next answer
            self.flow.read_paused = True
        self._take_slices()
        if not self._has_enough():
            self.flow.read()

    def _has_enough(self) -> bool:
        return self.flow.read_paused or self.transport.is_closing()

    def _take_slices(self) -> None:
        while self._left and not self._has_enough():
            data = self._left[self._at : self._at + SLICE]
            self._at += SLICE
            if self._at >= len(self._left):
                self._left, self._at = b"", 0
            super().data_received(data)  # type: ignore[misc]  # the protocol's
            successor: Any = self.transport.get_protocol()
            if successor is not self:  # it was WebSocket that was asked for
                rest, self._left = self._left[self._at :], b""
                if rest:
                    successor.data_received(rest)


class _Bounded:
    """Takes no head without an end; to be mixed into the protocol whose parser would."""

    cycle: Any
    transport: asyncio.Transport
    _got_further = False
    _fruitless = 0  # bytes since it got further

    def data_received(self, data: bytes) -> None:
        self._got_further = False
        super().data_received(data)  # type: ignore[misc]  # the protocol's
        self._fruitless = 0 if self._got_further else self._fruitless + len(data)
        if self._fruitless > MOST_HEAD and not self.transport.is_closing():
            self._refuse()

    def on_headers_complete(self) -> None:
        self._got_further = True
        super().on_headers_complete()  # type: ignore[misc]  # the protocol's

    def on_body(self, body: bytes) -> None:
        self._got_further = True
        super().on_body(body)  # type: ignore[misc]  # the protocol's

    def on_message_complete(self) -> None:
        self._got_further = True
        super().on_message_complete()  # type: ignore[misc]  # the protocol's

    def _refuse(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.send_400_response("The head of this request is too long.")  # type: ignore[attr-defined]
        else:  # in the middle of an answer
            self.transport.close()


def paced(original: type) -> Any:
    """Makes a protocol class that never runs ahead of its answers.

    Args:
        original: One of uvicorn's protocol classes for HTTP.
    """
    bounded = (_Bounded,) if hasattr(original, "on_headers_complete") else ()  # h11 has a bound
    return type("Paced", (_Pacing, *bounded, original), {})
