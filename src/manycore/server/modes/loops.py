"""Whose event loop it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from importlib.util import find_spec

log = logging.getLogger("manycore.server")


def choose_loop(kind: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Gives what makes a loop.

    Args:
        kind: `uvloop`, `asyncio`, or `auto`: uvloop where it is installed.
    """
    if kind == "auto" and find_spec("uvloop") is None:
        log.warning(
            "uvloop is not installed: asyncio's own loop serves, which is several times slower; "
            "run: pip install 'manycore[server]'"
        )
        kind = "asyncio"
    if kind == "asyncio":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop
