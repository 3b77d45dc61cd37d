"""What keeps clients, workers and the machine from each other's harm."""

from __future__ import annotations

from dataclasses import dataclass

from . import values
from .facts import setting


@dataclass(frozen=True, kw_only=True)
class ProtectingSettings:
    """Settings of limits, privileges and renewal."""

    max_connections: int = setting(
        0,
        values.whole(0, 10_000_000),
        "--max-connections",
        metavar="N",
        remedy="give a whole number from 0",
        topic="Protection",
        text="How many connections the whole server serves at a time, over all workers. What comes "
        "beyond that is a matter of overflow. 0: only threads and connections bound it, a worker.",
    )
    overflow: str = setting(
        "wait",
        values.one_of("wait", "refuse"),
        "--overflow",
        metavar="wait|refuse",
        remedy="give wait or refuse",
        topic="Protection",
        text="What happens to a client beyond max-connections: it waits in the kernel's queue "
        "until there is room, or it is accepted and disconnected at once. With refuse this also "
        "happens when descriptors run out.",
    )
    overflow_message: str = setting(
        "",
        str,
        "--overflow-message",
        metavar="TEXT",
        remedy="give a line of text",
        topic="Protection",
        text="A line that a refused client is sent before it is disconnected; not over TLS. By "
        "default nothing, and an answer of status 503 for ASGI and WSGI applications.",
    )
    max_per_address: int = setting(
        0,
        values.whole(0, 1_000_000),
        "--max-per-address",
        metavar="N",
        remedy="give a whole number from 0",
        topic="Protection",
        text="How many connections one client address has at a time, over all workers: an IPv4 "
        "address, or an IPv6 network of 64 bits. Who has more is refused. With proxy-protocol, the "
        "address that the proxy names. 0: any number.",
    )
    first_byte_timeout: float = setting(
        60.0,
        values.seconds,
        "--first-byte-timeout",
        metavar="SECONDS",
        remedy="give a number of seconds from 0",
        topic="Protection",
        text="A TCP connection over which no byte has passed in either direction after so long is "
        "ended. 0: never.",
    )
    idle_timeout: float = setting(
        0.0,
        values.seconds,
        "--idle-timeout",
        metavar="SECONDS",
        remedy="give a number of seconds from 0",
        topic="Protection",
        text="A TCP connection over which no byte has passed in either direction for so long is "
        "ended, unless bytes wait for its handler. It must be longer than a handler computes "
        "before it answers. 0: never.",
    )
    timeout: float = setting(
        60.0,
        values.seconds,
        "-t",
        "--timeout",
        metavar="SECONDS",
        remedy="give a number of seconds from 0",
        topic="Protection",
        text="A worker that has connections, makes no progress for so long, uses no CPU and does "
        "not wait for its clients is ended, after the log has said where each of its threads is. "
        "0: never.",
    )
    user: str = setting(
        "",
        str,
        "-u",
        "--user",
        metavar="USER",
        remedy="give a name or a number",
        topic="Privileges",
        text="Who the workers become before the target is loaded, with the user's group and "
        "further groups. The supervisor stays who it is. Only root can do that. The log file and "
        "the Unix sockets that are made here become this user's.",
    )
    group: str = setting(
        "",
        str,
        "-g",
        "--group",
        metavar="GROUP",
        remedy="give a name or a number",
        topic="Privileges",
        text="Which group the workers become members of, in place of the user's own.",
    )
    umask: int | None = setting(
        "",
        values.permissions,
        "-m",
        "--umask",
        metavar="MODE",
        remedy="give octal digits, such as 027",
        topic="Privileges",
        text="Which permissions files do not get that the server makes, in octal. By default what "
        "whoever starts it has.",
    )
    max_requests: int = setting(
        0,
        values.whole(0, 1_000_000_000),
        "--max-requests",
        metavar="N",
        remedy="give a whole number from 0",
        topic="Protection",
        text="After so many connections a worker is renewed: a successor boots, takes over, and "
        "the worker drains. Only one worker at a time is renewed. 0: never.",
    )
    max_requests_jitter: int = setting(
        0,
        values.whole(0, 1_000_000_000),
        "--max-requests-jitter",
        metavar="N",
        remedy="give a whole number from 0",
        topic="Protection",
        text="Up to so many connections, by chance, come on top of max-requests, so that workers "
        "that began together do not end together.",
    )
    max_age: float = setting(
        0.0,
        values.seconds,
        "--max-age",
        metavar="SECONDS",
        remedy="give a number of seconds from 0",
        topic="Protection",
        text="After so long, or by chance up to a tenth earlier, a worker is renewed. 0: never.",
    )
    max_rss: int = setting(
        0,
        values.size,
        "--max-rss",
        metavar="SIZE",
        remedy="give bytes, or a number with K, M or G, such as 512M",
        topic="Protection",
        text="A worker whose memory has grown to this is renewed. While it serves, it looks every "
        "five seconds. 0: never.",
    )
