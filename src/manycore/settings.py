"""Every setting, once.

A row of `ServeSettings` is the whole definition of a setting: from it come the flag of the command,
the `MANYCORE_…` variable, the key in `[tool.manycore]` of pyproject.toml (or at the top of
manycore.toml), the argument of `serve` and `Server`, the help text and the page in the docs.

`MapSettings` are those of `manycore map`: their variables begin with `MANYCORE_MAP_`, and their
keys are in a table `map` of the same file.

A flag overrides a variable, a variable the file, and the file the default.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from .base.addresses import (
    BindAddress,
    InheritedSocket,
    TcpAddress,
    UnixAddress,
    parse_bind,
)
from .base.cpus import cpu_count
from .errors import SettingsError

PREFIX = "MANYCORE_"
NO_CONTROL = "none"
MODES = ("threads", "asyncio", "greenlets")
MOST_WORKERS = 500  # more of them spend their time on each other
FILES = ("manycore.toml", "pyproject.toml")


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of one setting, besides its name.

    Attributes:
        parse: Text or a TOML value to the setting's value; raises ValueError with the problem.
        default: What it is when nobody sets it, before `parse`.
        flags: The flag and, perhaps, its short form.
        metavar: What stands behind the flag in the help.
        remedy: What to write instead of a value that is wrong.
        topic: The heading under which the help shows it.
        text: What it means.
        many: The flag may be given several times.
        switch: The flag takes no value: to give it is to say yes.
    """

    parse: Callable[[Any], Any]
    default: Any
    flags: tuple[str, ...]
    metavar: str
    remedy: str
    topic: str
    text: str
    many: bool = False
    switch: bool = False


LONGEST_PROTOCOL = 255  # bytes of an ALPN name (RFC 7301, 3.1)
_ALL_PERMISSIONS = 0o777
_OCTAL = re.compile(r"0?[0-7]{3}")
_SIZE = re.compile(r"(?P<number>[0-9]{1,15})(?P<unit>[KMG]?)", re.IGNORECASE)
_SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30}
_LARGEST_SIZE = 1 << 50  # bytes: more than any machine has
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


def _whole(smallest: int, largest: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value.strip()):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{value!r} is not a whole number")
        if value < smallest:
            raise ValueError(f"{value} is below {smallest}")
        if value > largest:
            raise ValueError(f"{value} is above {largest}")
        return value

    return parse


def _positive_seconds(value: Any) -> float:
    seconds = _seconds(value)
    if seconds == 0:
        raise ValueError(f"{value!r} leaves no time")
    return seconds


def _seconds(value: Any) -> float:
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{value!r} is not a number of seconds")
    return seconds


def _size(value: Any) -> int:
    """Takes bytes, with K, M or G behind them as multiples of 1,024."""
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found:
        value = int(found["number"]) << _SHIFTS[found["unit"].upper()]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_SIZE:
        raise ValueError(f"{value!r} is no size")
    return value


def _limit(value: Any) -> float | None:
    return None if value in {"none", None} else _positive_seconds(value)


def _one_of(*choices: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if isinstance(value, str) and value.lower() in choices:
            return value.lower()
        raise ValueError(f"{value!r} is none of {', '.join(choices)}")

    return parse


def _switch(value: Any) -> bool:
    said = value.strip().lower() if isinstance(value, str) else value
    if said in (True, "1", "true", "yes", "on"):
        return True
    if said in (False, "0", "false", "no", "off"):
        return False
    raise ValueError(f"{value!r} is neither yes nor no")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"{value!r} is no name")
    return value


def _workers(value: Any) -> int:
    return cpu_count() if value == "auto" else _whole(1, MOST_WORKERS)(value)


def _binds(value: Any) -> tuple[BindAddress, ...]:
    """Takes one address or several; a text may hold several, separated by commas."""
    if isinstance(value, str):
        value = value.split(",")
    elif isinstance(value, TcpAddress | UnixAddress | InheritedSocket):
        value = [value]
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{value!r} is no address")
    return tuple(_bind(item) for item in value)


def _bind(value: Any) -> BindAddress:
    if isinstance(value, TcpAddress | UnixAddress | InheritedSocket):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no address")
    return parse_bind(value.strip())


def _texts(value: Any) -> tuple[str, ...]:
    """Takes one text or several; a text may hold several, separated by commas."""
    if isinstance(value, str | os.PathLike):
        value = os.fspath(value)
        value = value.split(",") if value else ()
    if not isinstance(value, list | tuple) or not all(
        isinstance(item, str | os.PathLike) for item in value
    ):
        raise ValueError(f"{value!r} is neither a text nor several")
    texts = tuple(str(os.fspath(item)).strip() for item in value)
    if not all(texts):
        raise ValueError("one of them is empty")
    return texts


def _protocols(value: Any) -> tuple[str, ...]:
    names = _texts(value)
    for name in names:
        if not name.isascii() or len(name) > LONGEST_PROTOCOL:
            raise ValueError(f"{name!r} is no protocol's name")
    return names


def _networks(value: Any) -> tuple[Any, ...]:
    """Takes networks, and `unix`."""
    if not value:
        return ()
    from ipaddress import IPv4Network, IPv6Network, ip_network

    if not isinstance(value, list | tuple):
        value = (value,)
    found: list[Any] = []
    for item in value:
        if isinstance(item, IPv4Network | IPv6Network):
            found.append(item)
            continue
        if not isinstance(item, str):
            raise ValueError(f"{item!r} is no network")
        for part in map(str.strip, item.split(",")):
            try:
                found.append(part if part == "unix" else ip_network(part))
            except ValueError:
                raise ValueError(f"{part!r} is no network") from None
    return tuple(found)


def _permissions(value: Any) -> int | None:
    """Takes permissions as octal digits, or as a number that is one already."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and _OCTAL.fullmatch(value):
        return int(value, 8)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _ALL_PERMISSIONS:
        return value
    raise ValueError(f"{value!r} is not three octal digits")


def _setting(default: Any, parse: Callable[[Any], Any], *flags: str, **facts: Any) -> Any:
    return dataclasses.field(
        default=default, metadata={"setting": Setting(parse, default, flags, **facts)}
    )


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """How a server runs. Values may be given as text, as in a file, or ready.

    Raises:
        SettingsError: For the first value that is wrong; `where` is the argument's name.

    Example:
        >>> ServeSettings(bind="127.0.0.1:8888", workers=2).bind
        (TcpAddress(host='127.0.0.1', port=8888),)
    """

    section: ClassVar[str] = ""

    bind: tuple[BindAddress, ...] = _setting(
        "127.0.0.1:8000",
        _binds,
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
    backlog: int = _setting(
        1024,
        _whole(1, 65_535),  # what the kernel's own limit can be (net.core.somaxconn)
        "--backlog",
        metavar="N",
        remedy="give a whole number from 1",
        topic="Listening",
        text="How many clients may wait in the kernel's queue while every thread is busy. The "
        "kernel's own limit (net.core.somaxconn) applies too.",
    )
    reuse_port: bool = _setting(
        False,
        _switch,
        "--reuse-port",
        metavar="",
        remedy="give true or false",
        topic="Listening",
        text="Let further servers of this user listen on the same TCP ports (SO_REUSEPORT), each "
        "with a queue of its own. The kernel chooses among them by a hash, and what is queued at "
        "one that is killed is lost. The workers of one server need none of this.",
        switch=True,
    )
    unix_mode: int | None = _setting(
        "",
        _permissions,
        "--unix-mode",
        metavar="MODE",
        remedy="give octal digits, such as 660",
        topic="Listening",
        text="Who may connect to the Unix sockets that are made here: their files' permissions, in "
        "octal. By default what the umask leaves.",
    )
    proxy_protocol: bool = _setting(
        False,
        _switch,
        "--proxy-protocol",
        metavar="",
        remedy="give true or false",
        topic="Listening",
        text="Every connection begins with a PROXY protocol header (version 1 or 2), which names "
        "the client. Who sends none is disconnected, and so is who is not in proxy-from.",
        switch=True,
    )
    proxy_from: tuple[Any, ...] = _setting(
        "127.0.0.0/8,::1/128",
        _networks,
        "--proxy-from",
        metavar="NETWORK",
        many=True,
        remedy="give addresses or networks, such as 10.0.0.0/8, and unix for Unix sockets",
        topic="Listening",
        text="Whose PROXY headers are believed: addresses and networks, and unix for whoever "
        "connects over a Unix socket. May be given several times.",
    )
    certificate: tuple[str, ...] = _setting(
        "",
        _texts,
        "--certificate",
        metavar="FILE",
        many=True,
        remedy="give the path of a PEM file",
        topic="TLS",
        text="Serve over TLS with this certificate: a PEM file with the certificate and those of "
        "its issuers. May be given several times: clients get the one that names what they ask "
        "for, and else the first. The files are read again when they change.",
    )
    key: tuple[str, ...] = _setting(
        "",
        _texts,
        "--key",
        metavar="FILE",
        many=True,
        remedy="give one for each certificate, or none",
        topic="TLS",
        text="The certificate's private key, a PEM file. One for each certificate, in their order. "
        "By default it is in the certificate's file.",
    )
    key_password_file: str = _setting(
        "",
        str,
        "--key-password-file",
        metavar="FILE",
        remedy="give a path",
        topic="TLS",
        text="A file whose first line is the password of the keys.",
    )
    client_ca: str = _setting(
        "",
        str,
        "--client-ca",
        metavar="FILE",
        remedy="give the path of a PEM file",
        topic="TLS",
        text="Who signs the certificates of clients: a PEM file.",
    )
    client_certificates: str = _setting(
        "required",
        _one_of("optional", "required"),
        "--client-certificates",
        metavar="optional|required",
        remedy="give optional or required",
        topic="TLS",
        text="With client-ca: whether a client must have a certificate. One that it has is "
        "checked always.",
    )
    alpn: tuple[str, ...] = _setting(
        "",
        _protocols,
        "--alpn",
        metavar="NAME",
        many=True,
        remedy="give names such as h2 or http/1.1",
        topic="TLS",
        text="The protocols that clients may choose from (ALPN), the best one first. May be given "
        "several times.",
    )
    handshake_timeout: float = _setting(
        10.0,
        _positive_seconds,
        "--handshake-timeout",
        metavar="SECONDS",
        remedy="give a number of seconds above 0",
        topic="TLS",
        text="How long a client may take for its PROXY header and its TLS handshake together. "
        "Then it is disconnected.",
    )
    workers: int = _setting(
        "auto",
        _workers,
        "-w",
        "--workers",
        metavar="N|auto",
        remedy="give a whole number from 1, or auto",
        topic="Workers",
        text="How many worker processes. auto: one for each CPU that this process may use, by "
        "its affinity and its cgroup's quota (MANYCORE_CPUS overrides both).",
    )
    boot_timeout: float = _setting(
        60.0,
        _positive_seconds,
        "--boot-timeout",
        metavar="SECONDS",
        remedy="give a number of seconds above 0",
        topic="Workers",
        text="How long a worker may take to import the target and become ready. One that takes "
        "longer is killed, which counts as a failed boot.",
    )
    mode: str = _setting(
        "auto",
        _one_of("auto", *MODES),
        "--mode",
        metavar="MODE",
        remedy=f"give auto, {', '.join(MODES[:-1])} or {MODES[-1]}",
        topic="Handlers",
        text="How a worker serves many connections at once: threads, asyncio or greenlets. auto: "
        "asyncio for what is written for it (async def handle(reader, writer), a subclass of "
        "asyncio.Protocol, an ASGI application), threads for everything else.",
    )
    asgi: bool = _setting(
        False,
        _switch,
        "--asgi",
        metavar="",
        remedy="give true or false",
        topic="Handlers",
        text="The target is an ASGI application. It is served over HTTP and WebSocket, in asyncio.",
        switch=True,
    )
    wsgi: bool = _setting(
        False,
        _switch,
        "--wsgi",
        metavar="",
        remedy="give true or false",
        topic="Handlers",
        text="The target is a WSGI application. It is served over HTTP, in threads or greenlets.",
        switch=True,
    )
    threads: int = _setting(
        1000,
        _whole(1, 32_768),
        "--threads",
        metavar="N",
        remedy="give a whole number from 1",
        topic="Handlers",
        text="How many connections one worker serves at a time in mode threads, each in a thread "
        "of its own. Threads are started when they are needed and end when they have had nothing "
        "to do for a while. A worker accepts only while it has a free one.",
    )
    connections: int = _setting(
        10_000,
        _whole(1, 1_000_000),
        "--connections",
        metavar="N",
        remedy="give a whole number from 1",
        topic="Handlers",
        text="How many connections one worker serves at a time in the modes asyncio and "
        "greenlets. What comes beyond that waits in the kernel's queue.",
    )
    loop: str = _setting(
        "auto",
        _one_of("auto", "uvloop", "asyncio"),
        "--loop",
        metavar="LOOP",
        remedy="give auto, uvloop or asyncio",
        topic="Handlers",
        text="Whose event loop mode asyncio runs on: uvloop, or the standard library's (asyncio). "
        "auto: uvloop where it is installed.",
    )
    slow: float = _setting(
        0.1,
        _seconds,
        "--slow",
        metavar="SECONDS",
        remedy="give a number of seconds from 0",
        topic="Handlers",
        text="In mode greenlets, for how long a handler may keep all others from running before "
        "the log says which file and line did. 0: it is never said.",
    )
    offload_workers: int = _setting(
        1,
        _whole(1, MOST_WORKERS),
        "--offload-workers",
        metavar="N",
        remedy="give a whole number from 1",
        topic="Handlers",
        text="How many processes each worker has for what its handlers give to manycore.offload. "
        "They start with the first call.",
    )
    hooks: str = _setting(
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
    max_connections: int = _setting(
        0,
        _whole(0, 10_000_000),
        "--max-connections",
        metavar="N",
        remedy="give a whole number from 0",
        topic="Protection",
        text="How many connections the whole server serves at a time, over all workers. What comes "
        "beyond that is a matter of overflow. 0: only threads and connections bound it, a worker.",
    )
    overflow: str = _setting(
        "wait",
        _one_of("wait", "refuse"),
        "--overflow",
        metavar="wait|refuse",
        remedy="give wait or refuse",
        topic="Protection",
        text="What happens to a client beyond max-connections: it waits in the kernel's queue "
        "until there is room, or it is accepted and disconnected at once. With refuse this also "
        "happens when descriptors run out.",
    )
    overflow_message: str = _setting(
        "",
        str,
        "--overflow-message",
        metavar="TEXT",
        remedy="give a line of text",
        topic="Protection",
        text="A line that a refused client is sent before it is disconnected; not over TLS. By "
        "default nothing, and an answer of status 503 for ASGI and WSGI applications.",
    )
    max_per_address: int = _setting(
        0,
        _whole(0, 1_000_000),
        "--max-per-address",
        metavar="N",
        remedy="give a whole number from 0",
        topic="Protection",
        text="How many connections one client address has at a time, over all workers: an IPv4 "
        "address, or an IPv6 network of 64 bits. Who has more is refused. With proxy-protocol, the "
        "address that the proxy names. 0: any number.",
    )
    first_byte_timeout: float = _setting(
        60.0,
        _seconds,
        "--first-byte-timeout",
        metavar="SECONDS",
        remedy="give a number of seconds from 0",
        topic="Protection",
        text="A TCP connection over which no byte has passed in either direction after so long is "
        "ended. 0: never.",
    )
    idle_timeout: float = _setting(
        0.0,
        _seconds,
        "--idle-timeout",
        metavar="SECONDS",
        remedy="give a number of seconds from 0",
        topic="Protection",
        text="A TCP connection over which no byte has passed in either direction for so long is "
        "ended, unless bytes wait for its handler. It must be longer than a handler computes "
        "before it answers. 0: never.",
    )
    timeout: float = _setting(
        60.0,
        _seconds,
        "-t",
        "--timeout",
        metavar="SECONDS",
        remedy="give a number of seconds from 0",
        topic="Protection",
        text="A worker that has connections, makes no progress for so long, uses no CPU and does "
        "not wait for its clients is ended, after the log has said where each of its threads is. "
        "0: never.",
    )
    user: str = _setting(
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
    group: str = _setting(
        "",
        str,
        "-g",
        "--group",
        metavar="GROUP",
        remedy="give a name or a number",
        topic="Privileges",
        text="Which group the workers become members of, in place of the user's own.",
    )
    umask: int | None = _setting(
        "",
        _permissions,
        "-m",
        "--umask",
        metavar="MODE",
        remedy="give octal digits, such as 027",
        topic="Privileges",
        text="Which permissions files do not get that the server makes, in octal. By default what "
        "whoever starts it has.",
    )
    max_requests: int = _setting(
        0,
        _whole(0, 1_000_000_000),
        "--max-requests",
        metavar="N",
        remedy="give a whole number from 0",
        topic="Protection",
        text="After so many connections a worker is renewed: a successor boots, takes over, and "
        "the worker drains. Only one worker at a time is renewed. 0: never.",
    )
    max_requests_jitter: int = _setting(
        0,
        _whole(0, 1_000_000_000),
        "--max-requests-jitter",
        metavar="N",
        remedy="give a whole number from 0",
        topic="Protection",
        text="Up to so many connections, by chance, come on top of max-requests, so that workers "
        "that began together do not end together.",
    )
    max_age: float = _setting(
        0.0,
        _seconds,
        "--max-age",
        metavar="SECONDS",
        remedy="give a number of seconds from 0",
        topic="Protection",
        text="After so long, or by chance up to a tenth earlier, a worker is renewed. 0: never.",
    )
    max_rss: int = _setting(
        0,
        _size,
        "--max-rss",
        metavar="SIZE",
        remedy="give bytes, or a number with K, M or G, such as 512M",
        topic="Protection",
        text="A worker whose memory has grown to this is renewed. While it serves, it looks every "
        "five seconds. 0: never.",
    )
    graceful_timeout: float = _setting(
        30.0,
        _seconds,
        "--graceful-timeout",
        metavar="SECONDS",
        remedy="give a number of seconds from 0",
        topic="Stopping",
        text="How long a graceful stop lets open connections go on. Then they are ended.",
    )
    pre_stop_delay: float = _setting(
        0.0,
        _seconds,
        "--pre-stop-delay",
        metavar="SECONDS",
        remedy="give a number of seconds from 0",
        topic="Stopping",
        text="For how long all goes on as before after a graceful stop was asked for, so that "
        "whoever sends clients here (a load balancer, Kubernetes) notices and sends no more.",
    )
    reload: bool = _setting(
        False,
        _switch,
        "--reload",
        metavar="",
        remedy="give true or false",
        topic="Reloading",
        text="Reload when a Python file changes in the working directory or below, or beside the "
        "target's file. For development.",
        switch=True,
    )
    reload_extra: tuple[str, ...] = _setting(
        "",
        _texts,
        "--reload-extra",
        metavar="PATH",
        many=True,
        remedy="give paths",
        topic="Reloading",
        text="With reload: further directories whose Python files are watched, and further files "
        "of any kind. May be given several times.",
    )
    reload_overlap: int = _setting(
        1,
        _whole(1, MOST_WORKERS),
        "--reload-overlap",
        metavar="N",
        remedy="give a whole number from 1",
        topic="Reloading",
        text="How many processes there may be beyond the workers, while a reload replaces them: "
        "successors that boot, and old workers that drain.",
    )
    name: str = _setting(
        "",
        str,
        "-n",
        "--name",
        metavar="NAME",
        remedy="use letters, digits, '.', '-' and '_'",
        topic="Control",
        text="What manycore status, reload, scale and stop find the server by. By default its "
        "process id.",
    )
    control_socket: str = _setting(
        "",
        str,
        "--control-socket",
        metavar="PATH|none",
        remedy="give a path, or none",
        topic="Control",
        text="Where the server can be asked and told things: a Unix socket that only this user "
        "can use. By default NAME.sock in a directory of this user's own for the command, and "
        "none for serve and Server.",
    )
    pid_file: str = _setting(
        "",
        str,
        "--pid-file",
        metavar="PATH",
        remedy="give a path",
        topic="Control",
        text="A file for the supervisor's process id. One whose server runs is refused, one that "
        "a killed server left is replaced; it is removed at the end.",
    )
    log_level: str = _setting(
        "info",
        _one_of("debug", "info", "warning", "error", "critical"),
        "--log-level",
        metavar="LEVEL",
        remedy="give debug, info, warning, error or critical",
        topic="Logs",
        text="The least that is logged: debug, info, warning, error or critical. With debug, a "
        "command that fails shows its traceback.",
    )
    log_file: str = _setting(
        "",
        str,
        "--log-file",
        metavar="PATH",
        remedy="give a path",
        topic="Logs",
        text="The file that the log is appended to, in place of standard error. One that was moved "
        "away is followed by a new one of the name, at the next record or at USR1.",
    )
    log_format: str = _setting(
        "text",
        _one_of("text", "json"),
        "--log-format",
        metavar="text|json",
        remedy="give text or json",
        topic="Logs",
        text="How a log record looks: a line to read, or a JSON object a line.",
    )

    def __post_init__(self) -> None:
        _parse_all(self)
        _check_together(self)


def _check_together(settings: ServeSettings) -> None:
    """Refuses settings that contradict each other.

    Raises:
        SettingsError: For the first that does not fit.
    """
    if settings.asgi and settings.wsgi:
        raise SettingsError("asgi", "the target cannot be wsgi too", "give one of the two")
    if settings.asgi and settings.mode not in {"auto", "asyncio"}:
        problem = f"it is served in mode asyncio, not {settings.mode}"
        raise SettingsError("asgi", problem, "leave the mode out")
    if settings.wsgi and settings.mode == "asyncio":
        raise SettingsError("wsgi", "it would block asyncio", "choose mode threads or greenlets")
    if settings.reuse_port and not any(isinstance(one, TcpAddress) for one in settings.bind):
        problem = "none of the addresses is a TCP address that is opened here"
        raise SettingsError("reuse_port", problem, "leave it out")
    if settings.max_requests_jitter and not settings.max_requests:
        problem = "there is nothing that it comes on top of"
        raise SettingsError("max_requests_jitter", problem, "give max_requests too")
    if settings.overflow_message and settings.certificate:
        problem = "a client of TLS could not read it before its handshake"
        raise SettingsError("overflow_message", problem, "leave it out")
    _check_tls(settings)


def _check_tls(settings: ServeSettings) -> None:
    if settings.key and len(settings.key) != len(settings.certificate):
        problem = f"{len(settings.key)} keys for {len(settings.certificate)} certificates"
        raise SettingsError("key", problem, "give one for each certificate, in their order")
    for name in ("client_ca", "alpn"):
        if getattr(settings, name) and not settings.certificate:
            raise SettingsError(name, "there is no TLS without a certificate", "give certificate")
    if settings.proxy_protocol and not settings.proxy_from:
        problem = "nobody's PROXY header would be believed"
        raise SettingsError("proxy_from", problem, "give the proxies' networks")


@dataclass(frozen=True, kw_only=True)
class MapSettings:
    """How `manycore map` runs. Values may be given as text, as in a file, or ready.

    Raises:
        SettingsError: For the first value that is wrong; `where` is the argument's name.

    Example:
        >>> MapSettings(timeout="30").timeout
        30.0
    """

    section: ClassVar[str] = "map"

    input: str = _setting(
        "-",
        _text,
        "-i",
        "--input",
        metavar="FILE|-|GLOB",
        remedy="give a file, - for standard input, or a pattern as 'images/*.png'",
        topic="What is read and written",
        text="Where the items come from: the lines of a file, - for the lines of standard input, "
        "or a pattern in quotes: then each path that it finds is an item, in order of the names.",
    )
    items: str = _setting(
        "text",
        _one_of("text", "json"),
        "--items",
        metavar="text|json",
        remedy="give text or json",
        topic="What is read and written",
        text="What the function is called with: the line as text, without its end, or the value "
        "that the line is as JSON.",
    )
    output: str = _setting(
        "-",
        _text,
        "-o",
        "--output",
        metavar="FILE|-",
        remedy="give a file, or - for standard output",
        topic="What is read and written",
        text="Where the results go, a line of JSON for each item; - is standard output. A file "
        "is written anew by every run.",
    )
    unordered: bool = _setting(
        False,
        _switch,
        "--unordered",
        metavar="",
        switch=True,
        remedy="give yes or no",
        topic="What is read and written",
        text="Write results as they come. Otherwise they come in the order of the items, and "
        "what is done early waits for its turn.",
    )
    journal: str = _setting(
        "",
        str,
        "--journal",
        metavar="FILE",
        remedy="give a file",
        topic="What is read and written",
        text="Where what is done is written down at once. The same command, run again after "
        "whatever ended it, does only what is missing.",
    )
    workers: int = _setting(
        "auto",
        _workers,
        "-w",
        "--workers",
        metavar="N|auto",
        remedy="give a whole number from 1, or auto",
        topic="Work",
        text="How many worker processes. auto: one for each CPU that this process may use.",
    )
    timeout: float | None = _setting(
        "none",
        _limit,
        "--timeout",
        metavar="SECONDS|none",
        remedy="give a number of seconds above 0, or none",
        topic="Work",
        text="How long an item may take. Then TaskTimeout is raised inside the function, and "
        "half a second later its worker is killed if that did not help.",
    )
    retries: int = _setting(
        0,
        _whole(0, 1_000_000),
        "--retries",
        metavar="N",
        remedy="give a whole number from 0",
        topic="Work",
        text="How often an item that failed is tried again: one that raised, took too long, or "
        "whose worker died.",
    )
    quiet: bool = _setting(
        False,
        _switch,
        "-q",
        "--quiet",
        metavar="",
        switch=True,
        remedy="give yes or no",
        topic="Work",
        text="Show no progress; NO_COLOR in the environment does the same.",
    )

    def __post_init__(self) -> None:
        _parse_all(self)


Settings = ServeSettings | MapSettings
S = TypeVar("S", ServeSettings, MapSettings)
_SECTIONS = (MapSettings.section,)


def table(kind: type[Settings] = ServeSettings) -> dict[str, Setting]:
    """Every setting by its name, in the order of the help."""
    return {field.name: field.metadata["setting"] for field in dataclasses.fields(kind)}


def _parse_all(settings: Settings) -> None:
    for name, setting in table(type(settings)).items():
        object.__setattr__(settings, name, parse(setting, getattr(settings, name), name))


def parse(setting: Setting, value: Any, where: str) -> Any:
    """Reads one value.

    Raises:
        SettingsError: When it is wrong; it names `where` the value was written.
    """
    try:
        return setting.parse(value)
    except SettingsError:
        raise  # cpu_count read a variable that is wrong itself
    except ValueError as error:
        raise SettingsError(where, str(error), setting.remedy) from None


def shown(default: Any) -> str:
    """Writes a default as in a file.

    Example:
        >>> shown(False)
        'false'
    """
    return str(default).lower() if isinstance(default, bool) else str(default)


def variable(name: str, section: str = "") -> str:
    """Gives the environment variable of a setting.

    Example:
        >>> variable("log_level")
        'MANYCORE_LOG_LEVEL'
        >>> variable("retries", "map")
        'MANYCORE_MAP_RETRIES'
    """
    return PREFIX + "_".join(filter(None, (section, name))).upper()


def key(name: str) -> str:
    """Gives the TOML key of a setting.

    Example:
        >>> key("log_level")
        'log-level'
    """
    return name.replace("_", "-")


def gather(
    flags: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
    directory: Path | None = None,
    kind: type[S] = ServeSettings,  # type: ignore[assignment]  # that is what S is then
) -> tuple[S, frozenset[str]]:
    """Puts the settings together: flags over variables over a file over the defaults.

    Args:
        flags: Values by the settings' names; what was not given is None or empty.
        environ: The environment; by default this process's.
        file: The settings file; without one, the first of `FILES` in the directory, if any.
        directory: Where to look for it; by default the working directory.
        kind: Which settings.

    Returns:
        The settings, and the names of those that somebody set.

    Raises:
        SettingsError: Which names the flag, the variable, or the file and key that is wrong.
    """
    environ = os.environ if environ is None else environ
    found = file or find_file(directory or Path())
    written = {} if found is None else read_file(found, kind)
    values: dict[str, Any] = {}
    for name, setting in table(kind).items():
        in_environment = variable(name, kind.section)
        if flags.get(name) not in (None, ()):
            values[name] = parse(setting, flags[name], setting.flags[-1])
        elif environ.get(in_environment):
            values[name] = parse(setting, environ[in_environment], in_environment)
        elif name in written:
            values[name] = parse(setting, written[name], f"{found}: {key(name)}")
    return kind(**values), frozenset(values)


def find_file(directory: Path) -> Path | None:
    """Finds the settings file of a directory: manycore.toml, or a pyproject.toml that has ours."""
    for name in FILES:
        path = directory / name
        if path.is_file() and (name != "pyproject.toml" or "manycore" in _tools(_load(path))):
            return path
    return None


def _tools(content: dict[str, Any]) -> dict[str, Any]:
    tools = content.get("tool")
    return tools if isinstance(tools, dict) else {}


def read_file(path: Path, kind: type[Settings] = ServeSettings) -> dict[str, Any]:
    """Reads a settings file: values by the settings' names, not parsed yet.

    Raises:
        SettingsError: When it cannot be read, is not TOML, or has a key that is no setting.
    """
    content = _load(path)
    values = _tools(content).get("manycore", {}) if path.name == "pyproject.toml" else content
    where = f"{path}: "
    if not isinstance(values, dict):
        raise SettingsError(f"{where}tool.manycore", "it is no table", "write [tool.manycore]")
    if kind.section:
        values = values.get(kind.section, {})
        where += f"{kind.section}."
        if not isinstance(values, dict):
            raise SettingsError(where[:-1], "it is no table", f"write [{kind.section}]")
    else:
        values = {written: value for written, value in values.items() if written not in _SECTIONS}
    known = {key(name): name for name in table(kind)} | {name: name for name in table(kind)}
    for written in values:
        if written not in known:
            raise SettingsError(
                f"{where}{written}", "there is no such setting", _suggestion(written, kind)
            )
    return {known[written]: value for written, value in values.items()}


def _suggestion(written: str, kind: type[Settings]) -> str:
    import difflib  # only a mistake needs it

    names = [key(name) for name in table(kind)]
    close = difflib.get_close_matches(written, names, n=1)
    return f"did you mean {close[0]}?" if close else f"the settings are {', '.join(names)}"


def _load(path: Path) -> dict[str, Any]:
    import tomllib  # only the command reads files; its workers do not

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
        raise SettingsError(str(path), problem, "name a file that can be read") from None
    except (ValueError, RecursionError) as error:
        raise SettingsError(str(path), f"it is not TOML ({error})", "correct that place") from None
