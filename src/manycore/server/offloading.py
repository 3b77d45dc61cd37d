"""Work that would hold a handler's siblings up, done in processes of its own: `offload`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import inside
from .inside import Inside
from .sleeping import here

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

    from manycore.pool.classic import Pool

_lock = threading.Lock()
_pool: Pool | None = None  # this worker's
_making: Future[Pool] | None = None  # by a thread, while others go on


def offload(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Calls a function in another process, and lets other connections go on meanwhile.

    For work that computes: it runs in a pool of processes that belongs to the worker, and ends with
    it. Processes are started with the first call; `offload_workers` says how many.

    Args:
        function: What to call.
        *args: With what.
        **kwargs: And with what by name.

    Returns:
        What the function returns; in asyncio something to await that gives it.

    Raises:
        NotInServerError: When this process is no worker of a server.
        WorkerLost: When the process that worked on it died.
        Exception: What the function raised.

    Example:
        >>> offload(pow, 2, 10)
        Traceback (most recent call last):
        ...
        manycore.errors.NotInServerError: offload works in a server's handlers only; \
elsewhere use manycore.Pool
    """
    server = inside.ask("offload", "elsewhere use manycore.Pool")
    hub = here.hub
    if hub is not None:
        pool = _pool or _wait_in_greenlet(hub, _make_aside(server))
        return _wait_in_greenlet(hub, pool.submit(function, *args, **kwargs))
    loop = _running_loop()
    if loop is None:
        return _make(server).submit(function, *args, **kwargs).result()
    if _pool is None:
        return loop.create_task(_offload_first(server, function, args, kwargs))
    return sys.modules["asyncio"].wrap_future(_pool.submit(function, *args, **kwargs))


def end() -> None:
    """Ends the worker's pool, if it has one."""
    global _pool  # it is the process's
    with _lock:
        pool, _pool = _pool, None
    if pool is not None:
        pool.terminate()
        pool.join()


def _make(server: Inside) -> Pool:
    """Makes the worker's pool, once; this blocks, for some tens of milliseconds."""
    global _pool  # noqa: PLW0603  # it is the process's
    with _lock:
        if _pool is None:
            from manycore.pool.classic import Pool

            _pool = Pool(server.offload_workers)
        return _pool


def _make_aside(server: Inside) -> Future[Pool]:
    """Makes it in a thread of its own, for those whose waiting would be everybody's."""
    global _making  # noqa: PLW0603  # it is the process's
    from concurrent.futures import Future

    making = _making
    if making is None or making.done():  # done, and no pool: it failed, and may go well by now
        making = Future()
        making.set_running_or_notify_cancel()  # who waits may give up, and the others go on
        threading.Thread(target=_fulfil, args=(making, server), name="offload", daemon=True).start()
        _making = making
    return making


def _fulfil(making: Future[Pool], server: Inside) -> None:
    try:
        making.set_result(_make(server))
    except BaseException as error:  # told where it is waited for
        making.set_exception(error)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()  # noqa: SLF001


async def _offload_first(
    server: Inside, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    import asyncio

    pool = await asyncio.wrap_future(_make_aside(server))
    return await asyncio.wrap_future(pool.submit(function, *args, **kwargs))


def _wait_in_greenlet(hub: Any, future: Future[Any]) -> Any:
    from .modes.hub import Waiter

    waiter = Waiter(hub)
    # in the hub's thread, and so not before this greenlet waits
    future.add_done_callback(lambda _: hub.call(waiter.wake))
    try:
        waiter.wait()
    except BaseException:
        future.cancel()
        raise
    return future.result()
