"""How many workers there are, and how each serves."""

from __future__ import annotations

from dataclasses import dataclass

from . import values
from .facts import setting

MODES = ("threads", "asyncio", "greenlets")


@dataclass(frozen=True, kw_only=True)
class WorkingSettings:
    """Settings of workers and handlers."""

    workers: int = setting(
        "auto",
        values.workers,
        "-w",
        "--workers",
        metavar="N|auto",
        remedy="give a whole number from 1, or auto",
        topic="Workers",
        text="How many worker processes. auto: one for each CPU that this process may use, by "
        "its affinity and its cgroup's quota (MANYCORE_CPUS overrides both).",
    )
    boot_timeout: float = setting(
        60.0,
        values.positive_seconds,
        "--boot-timeout",
        metavar="SECONDS",
        remedy="give a number of seconds above 0",
        topic="Workers",
        text="How long a worker may take to import the target and become ready. One that takes "
        "longer is killed, which counts as a failed boot.",
    )
    mode: str = setting(
        "auto",
        values.one_of("auto", *MODES),
        "--mode",
        metavar="MODE",
        remedy=f"give auto, {', '.join(MODES[:-1])} or {MODES[-1]}",
        topic="Handlers",
        text="How a worker serves many connections at once: threads, asyncio or greenlets. auto: "
        "asyncio for what is written for it (async def handle(reader, writer), a subclass of "
        "asyncio.Protocol, an ASGI application), threads for everything else.",
    )
    asgi: bool = setting(
        False,
        values.switch,
        "--asgi",
        metavar="",
        remedy="give true or false",
        topic="Handlers",
        text="The target is an ASGI application. It is served over HTTP and WebSocket, in asyncio.",
        switch=True,
    )
    wsgi: bool = setting(
        False,
        values.switch,
        "--wsgi",
        metavar="",
        remedy="give true or false",
        topic="Handlers",
        text="The target is a WSGI application. It is served over HTTP, in threads or greenlets.",
        switch=True,
    )
    threads: int = setting(
        1000,
        values.whole(1, 32_768),
        "--threads",
        metavar="N",
        remedy="give a whole number from 1",
        topic="Handlers",
        text="How many connections one worker serves at a time in mode threads, each in a thread "
        "of its own. Threads are started when they are needed and end when they have had nothing "
        "to do for a while. A worker accepts only while it has a free one.",
    )
    connections: int = setting(
        10_000,
        values.whole(1, 1_000_000),
        "--connections",
        metavar="N",
        remedy="give a whole number from 1",
        topic="Handlers",
        text="How many connections one worker serves at a time in the modes asyncio and "
        "greenlets. What comes beyond that waits in the kernel's queue.",
    )
    loop: str = setting(
        "auto",
        values.one_of("auto", "uvloop", "asyncio"),
        "--loop",
        metavar="LOOP",
        remedy="give auto, uvloop or asyncio",
        topic="Handlers",
        text="Whose event loop mode asyncio runs on: uvloop, or the standard library's (asyncio). "
        "auto: uvloop where it is installed.",
    )
    slow: float = setting(
        0.1,
        values.seconds,
        "--slow",
        metavar="SECONDS",
        remedy="give a number of seconds from 0",
        topic="Handlers",
        text="In mode greenlets, for how long a handler may keep all others from running before "
        "the log says which file and line did. 0: it is never said.",
    )
    offload_workers: int = setting(
        1,
        values.whole(1, values.MOST_WORKERS),
        "--offload-workers",
        metavar="N",
        remedy="give a whole number from 1",
        topic="Handlers",
        text="How many processes each worker has for what its handlers give to manycore.offload. "
        "They start with the first call.",
    )
    hooks: str = setting(
        "",
        str,
        "--hooks",
        metavar="MODULE|FILE",
        remedy="give a module's name or a path that ends in .py",
        topic="Workers",
        text="A module or a Python file whose functions are called in the server's life: "
        "on_starting, when_ready, on_reload, child_exit and on_exit in the supervisor; post_fork, "
        "post_worker_init and worker_exit in each worker.",
    )
