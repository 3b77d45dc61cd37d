"""An asyncio transport whose peer is the client that a proxy named."""

from __future__ import annotations

import asyncio
from typing import Any


class ProxiedTransport:
    """A transport, but for its `peername`.

    It has no `socket` to offer, since that one knows the proxy only.

    Args:
        transport: Whose work it is.
        client: The client's address.
    """

    def __init__(self, transport: asyncio.Transport, client: Any) -> None:
        self._transport = transport
        self._client = client

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Gives the client's address as `peername`, and all else as it is."""
        if name == "peername":
            return self._client
        if name == "socket":
            return default
        return self._transport.get_extra_info(name, default)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
