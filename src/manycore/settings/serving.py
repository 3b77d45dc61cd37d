"""Every setting of a server, together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from manycore.base.addresses import TcpAddress
from manycore.errors import SettingsError

from .facts import parse_all
from .listening import ListeningSettings
from .protecting import ProtectingSettings
from .running import RunningSettings
from .securing import SecuringSettings
from .working import WorkingSettings


@dataclass(frozen=True, kw_only=True)
class ServeSettings(
    # a dataclass takes its fields from the last of these first: the order of the help
    RunningSettings,
    ProtectingSettings,
    WorkingSettings,
    SecuringSettings,
    ListeningSettings,
):
    """How a server runs. Values may be given as text, as in a file, or ready.

    Raises:
        SettingsError: For the first value that is wrong; `where` is the argument's name.

    Example:
        >>> ServeSettings(bind="127.0.0.1:8888", workers=2).bind
        (TcpAddress(host='127.0.0.1', port=8888),)
    """

    section: ClassVar[str] = ""

    def __post_init__(self) -> None:
        parse_all(self)
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
