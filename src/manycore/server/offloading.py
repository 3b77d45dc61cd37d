"""Work that would hold a handler's siblings up, done in processes of its own: `offload`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import inside
from .sleeping import here

if TYPE_CHECKING:
    from concurrent.futures import Future

    from manycore.pool.classic import Pool

_lock = threading.Lock()
_pool: Pool | None = None  # this worker's


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
    future = _get_pool().submit(function, *args, **kwargs)
    if here.hub is not None:
        return _wait_in_greenlet(here.hub, future)
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:  # noqa: SLF001
        return asyncio.wrap_future(future)
    return future.result()


def end() -> None:
    """Ends the worker's pool, if it has one."""
    global _pool  # it is the process's
    with _lock:
        pool, _pool = _pool, None
    if pool is not None:
        pool.terminate()
        pool.join()


def _get_pool() -> Pool:
    global _pool  # noqa: PLW0603  # it is the process's
    server = inside.ask("offload", "elsewhere use manycore.Pool")
    with _lock:
        if _pool is None:
            from manycore.pool.classic import Pool

            _pool = Pool(server.offload_workers)
        return _pool


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
