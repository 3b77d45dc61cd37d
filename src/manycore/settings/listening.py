"""Where a server listens, and who may come there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from manycore.base.addresses import BindAddress

from . import values
from .facts import setting


@dataclass(frozen=True, kw_only=True)
class ListeningSettings:
    """Settings of listeners."""

    bind: tuple[BindAddress, ...] = setting(
        "127.0.0.1:8000",
        values.binds,
        "-b",
        "--bind",
        metavar="ADDRESS",
        many=True,
        remedy="write host:port, [ipv6]:port, unix:path or fd://N",
        topic="Listening",
        text="Where to listen: host:port, [ipv6]:port, :port for every IPv4 interface, unix:path, "
        "or fd://N for a descriptor that is open already. Port 0 takes a free one, and the ready "
        "line says which. May be given several times. Sockets that systemd passed (LISTEN_FDS) "
        "are used too, and then there is no default.",
    )
    backlog: int = setting(
        1024,
        values.whole(1, 65_535),  # what the kernel's own limit can be (net.core.somaxconn)
        "--backlog",
        metavar="N",
        remedy="give a whole number from 1",
        topic="Listening",
        text="How many clients may wait in the kernel's queue while every thread is busy. The "
        "kernel's own limit (net.core.somaxconn) applies too.",
    )
    reuse_port: bool = setting(
        False,
        values.switch,
        "--reuse-port",
        metavar="",
        remedy="give true or false",
        topic="Listening",
        text="Let further servers of this user listen on the same TCP ports (SO_REUSEPORT), each "
        "with a queue of its own. The kernel chooses among them by a hash, and what is queued at "
        "one that is killed is lost. The workers of one server need none of this.",
        switch=True,
    )
    unix_mode: int | None = setting(
        "",
        values.permissions,
        "--unix-mode",
        metavar="MODE",
        remedy="give octal digits, such as 660",
        topic="Listening",
        text="Who may connect to the Unix sockets that are made here: their files' permissions, in "
        "octal. By default what the umask leaves.",
    )
    proxy_protocol: bool = setting(
        False,
        values.switch,
        "--proxy-protocol",
        metavar="",
        remedy="give true or false",
        topic="Listening",
        text="Every connection begins with a PROXY protocol header (version 1 or 2), which names "
        "the client. Who sends none is disconnected, and so is who is not in proxy-from.",
        switch=True,
    )
    proxy_from: tuple[Any, ...] = setting(
        "127.0.0.0/8,::1/128",
        values.networks,
        "--proxy-from",
        metavar="NETWORK",
        many=True,
        remedy="give addresses or networks, such as 10.0.0.0/8, and unix for Unix sockets",
        topic="Listening",
        text="Whose PROXY headers are believed: addresses and networks, and unix for whoever "
        "connects over a Unix socket. May be given several times.",
    )
