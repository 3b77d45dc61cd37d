"""Which mode serves a target, and in which form. Decides; starts nothing, and imports no mode."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from importlib.util import find_spec
from typing import Any

from manycore.base.addresses import SocketAddress
from manycore.errors import MissingExtra, TargetError
from manycore.settings import ServeSettings

from .handlers import adapt, is_coroutine_function, required_arguments, what_is_called

STREAMS = "write async def handle(reader, writer)"
EXTRA = "server"


class Form(Enum):
    """What a target is called with."""

    BLOCKING = auto()  #: a connection and its peer's address; it blocks
    STREAMS = auto()  #: a StreamReader and a StreamWriter; it is awaited
    PROTOCOL = auto()  #: nothing: it gives an asyncio.Protocol
    ASGI = auto()
    WSGI = auto()


@dataclass(frozen=True, slots=True)
class Plan:
    """How a worker serves.

    Attributes:
        mode: `threads`, `asyncio` or `greenlets`.
        form: What the handler is called with.
        handler: The target; of a blocking form, as a function of a connection and an address.
        limit: How many connections a worker serves at a time.
    """

    mode: str
    form: Form
    handler: Callable[..., Any]
    limit: int


def plan(target: Any, name: str, address: SocketAddress, settings: ServeSettings) -> Plan:
    """Decides how a target is served.

    Args:
        target: What the user gave.
        name: What to call it in an error.
        address: What the first listener is reached by.
        settings: The mode that was chosen, or `auto`, and the limits.

    Raises:
        TargetError: When it cannot be served, or not in that mode.
    """
    form, mode = _form_and_mode(target, name, settings)
    handler = adapt(target, name, address) if form is Form.BLOCKING else target
    return Plan(mode, form, handler, limit_of(mode, settings))


def limit_of(mode: str, settings: ServeSettings) -> int:
    """Gives how many connections a worker serves at a time."""
    return settings.threads if mode == "threads" else settings.connections


def describe_limit(mode: str, settings: ServeSettings) -> str:
    """Says how much a worker of a mode serves.

    Example:
        >>> describe_limit("asyncio", ServeSettings(connections=500))
        'up to 500 connections each in asyncio'
    """
    if mode == "threads":
        return f"up to {settings.threads} threads each"
    return f"up to {settings.connections} connections each in {mode}"


def require_extras(settings: ServeSettings) -> None:
    """Looks for the libraries that the settings need.

    Raises:
        MissingExtra: For the first that is not installed.
    """
    needs = {
        "mode greenlets": "greenlet" if settings.mode == "greenlets" else "",
        "loop uvloop": "uvloop" if settings.loop == "uvloop" else "",
        "an ASGI application": "uvicorn" if settings.asgi else "",
        "a WSGI application": "cheroot" if settings.wsgi else "",
        "reload": "watchfiles" if settings.reload else "",
    }
    for what, module in needs.items():
        if module and find_spec(module) is None:
            raise MissingExtra(what, module, EXTRA)


def _form_and_mode(target: Any, name: str, settings: ServeSettings) -> tuple[Form, str]:
    asked = settings.mode
    if settings.asgi:
        _check_callable(target, name)
        return Form.ASGI, "asyncio"
    if settings.wsgi:
        _check_wsgi(target, name)
        return Form.WSGI, "threads" if asked == "auto" else asked
    if _is_protocol(target):
        if asked not in {"auto", "asyncio"}:
            problem = f"an asyncio.Protocol cannot be served in mode {asked}"
            raise TargetError(name, problem, "choose mode asyncio")
        _check_protocol(target, name)
        return Form.PROTOCOL, "asyncio"
    if is_coroutine_function(target) and asked in {"auto", "asyncio"}:
        _check_streams(target, name)
        return Form.STREAMS, "asyncio"
    if asked == "asyncio":
        _check_factory(target, name)
        return Form.PROTOCOL, "asyncio"
    return Form.BLOCKING, "threads" if asked == "auto" else asked


def _is_protocol(target: Any) -> bool:
    """Whether a target gives, or is, a protocol; who has none of them need not import asyncio."""
    protocols = sys.modules.get("asyncio.protocols")
    if protocols is None:
        return False
    made = what_is_called(target)
    if isinstance(made, type):
        return issubclass(made, protocols.BaseProtocol)
    return isinstance(target, protocols.BaseProtocol)


def _check_protocol(target: Any, name: str) -> None:
    from asyncio import BufferedProtocol, Protocol

    made = what_is_called(target)
    if not isinstance(made, type):
        problem = "it is one protocol, and each connection needs its own"
        raise TargetError(name, problem, "give its class")
    if not issubclass(made, Protocol | BufferedProtocol):
        kind = next(c.__name__ for c in made.__mro__ if c.__module__ == "asyncio.protocols")
        problem = f"it is a {kind}, which handles no connections"
        raise TargetError(name, problem, "write a subclass of asyncio.Protocol")
    count = required_arguments(target, name)
    if count:
        problem = f"it must be given {count} arguments, and is made without any"
        raise TargetError(name, problem, "give a function without arguments that makes it")


def _check_streams(target: Any, name: str) -> None:
    if inspect.isasyncgenfunction(what_is_called(target)):
        raise TargetError(name, "it is a generator: calling it runs nothing", STREAMS)
    if not _takes(target, 2):
        count = required_arguments(target, name)
        problem = f"it must be given {count} arguments, not a reader and a writer"
        raise TargetError(name, problem, f"{STREAMS}; an ASGI application needs --asgi")


def _check_factory(target: Any, name: str) -> None:
    _check_callable(target, name)
    if required_arguments(target, name):
        problem = "it is a plain function, which would block the event loop"
        raise TargetError(name, problem, f"{STREAMS}, or choose mode threads or greenlets")


def _check_callable(target: Any, name: str) -> None:
    if not callable(target):
        problem = f"a {type(target).__name__} cannot be called"
        raise TargetError(name, problem, "name the function or the application")


def _check_wsgi(target: Any, name: str) -> None:
    _check_callable(target, name)
    if is_coroutine_function(target):
        raise TargetError(name, "it is a coroutine function", "an ASGI application needs --asgi")
    if not _takes(target, 2):
        problem = f"it must be given {required_arguments(target, name)} arguments"
        raise TargetError(name, problem, "write application(environ, start_response)")


def _takes(target: Callable[..., Any], count: int) -> bool:
    try:
        signature = inspect.signature(target)
    except (ValueError, TypeError):  # written in C, and silent about it
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True
