"""The modes: each serves a worker's connections in its own way.

A mode is imported when it is chosen, so a worker pays for no other.
"""

from __future__ import annotations

from collections.abc import Callable

from manycore.base.addresses import SocketAddress
from manycore.server.entrance import Entrance
from manycore.server.plan import Form, Plan
from manycore.settings import ServeSettings

from .mode import Mode


def create(
    plan: Plan,
    name: str,
    address: SocketAddress,
    settings: ServeSettings,
    entrance: Entrance,
    row: memoryview,
    freed: Callable[[], None],
) -> Mode:
    """Makes the mode that a plan asks for.

    Args:
        plan: What is served, and how.
        name: What to call the target in an error.
        address: What the first listener is reached by.
        settings: The loop's kind, and what is slow.
        entrance: What each connection passes first.
        row: The worker's row on the board.
        freed: Called, from any thread, when what `Mode.wake_below` asked for has come.

    Raises:
        MissingExtra: When a library that the mode needs is not installed.
        TargetError: When the target turns out not to be what the plan says.
    """
    if plan.mode == "asyncio":
        return _create_loop(plan, name, settings, entrance, row, freed)
    handler = plan.handler
    if plan.form is Form.WSGI:
        from .wsgi import serve_wsgi

        handler = serve_wsgi(plan.handler, address)
    if plan.mode == "greenlets":
        from .greenlets import GreenletMode

        return GreenletMode(handler, plan.limit, settings.slow, entrance, row, freed)
    from .threads import HandlerThreads

    return HandlerThreads(handler, plan.limit, entrance, row, freed)


def _create_loop(
    plan: Plan,
    name: str,
    settings: ServeSettings,
    entrance: Entrance,
    row: memoryview,
    freed: Callable[[], None],
) -> Mode:
    from .eventloop import LoopMode
    from .loops import choose_loop
    from .speaking import Protocols, Speaker, Streams

    speaker: Speaker
    match plan.form:
        case Form.STREAMS:
            speaker = Streams(plan.handler)
        case Form.PROTOCOL:
            speaker = Protocols(plan.handler)
        case _:
            from .asgi import Asgi

            speaker = Asgi(plan.handler, name)
    return LoopMode(speaker, choose_loop(settings.loop), plan.limit, entrance, row, freed)
