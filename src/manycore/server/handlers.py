"""Every form of handler as one: a function of a connection and its peer's address."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Callable
from functools import partial
from socketserver import BaseRequestHandler, DatagramRequestHandler
from typing import Any, TypeAlias

from manycore.base.addresses import SocketAddress
from manycore.errors import TargetError

Handler: TypeAlias = Callable[[socket.socket, Any], object]
FORMS = "write handle(conn), handle(conn, address) or a socketserver.BaseRequestHandler"
FORMS += ", or async def handle(reader, writer) or an asyncio.Protocol"


class HandlerServer:
    """What a `socketserver` handler finds as its `server`.

    Attributes:
        server_address: What the first listener is reached by.
    """

    def __init__(self, address: SocketAddress) -> None:
        self.server_address = address


def adapt(target: Any, name: str, address: SocketAddress) -> Handler:
    """Makes a handler of what the user gave.

    Args:
        target: `f(conn)`, `f(conn, address)`, a `socketserver.BaseRequestHandler` subclass or any
            object that can be called like one of them. What it must be given decides: an argument
            with a default is left to its default.
        name: What to call it in an error.
        address: What the first listener is reached by.

    Raises:
        TargetError: When it is none of these.
    """
    if isinstance(target, type) and issubclass(target, BaseRequestHandler):
        return _adapt_request_handler(target, name, address)
    if not callable(target):
        raise TargetError(name, f"a {type(target).__name__} cannot be called", FORMS)
    if is_coroutine_function(target):
        remedy = "write a plain function (def), or choose mode asyncio"
        raise TargetError(name, "it is a coroutine function", remedy)
    if inspect.isgeneratorfunction(what_is_called(target)):
        raise TargetError(name, "it is a generator: calling it runs nothing", FORMS)
    match required_arguments(target, name):
        case 1:
            return lambda conn, _peer: target(conn)
        case 2:
            handler: Handler = target
            return handler
        case count:
            raise TargetError(name, f"it must be given {count} arguments", FORMS)


def _adapt_request_handler(
    target: type[BaseRequestHandler], name: str, address: SocketAddress
) -> Handler:
    if issubclass(target, DatagramRequestHandler):
        raise TargetError(name, "it handles datagrams, not connections", FORMS)
    if inspect.iscoroutinefunction(target.handle):
        raise TargetError(name, "its handle() is a coroutine function", "write a plain one (def)")
    server: Any = HandlerServer(address)
    return lambda conn, peer: target(conn, peer, server)


def what_is_called(target: Any) -> Any:
    """Gives the function, method or class that runs when a target is called."""
    while isinstance(target, partial):
        target = target.func
    if inspect.isroutine(target) or isinstance(target, type):
        return target
    return getattr(target, "__call__", target)  # noqa: B004  # the method itself is wanted


def is_coroutine_function(target: Any) -> bool:
    """Whether calling a target gives something to await or to iterate over with `async for`."""
    call = what_is_called(target)
    return inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)


def required_arguments(target: Callable[..., object], name: str) -> int:
    """Counts the arguments a call must have; what takes one or more is given the connection.

    Raises:
        TargetError: When there are some that can be given by name only.
    """
    try:
        parameters = inspect.signature(target).parameters.values()
    except (ValueError, TypeError):  # written in C, and silent about it
        return 1
    must = [p for p in parameters if p.default is p.empty]
    if any(p.kind is p.KEYWORD_ONLY for p in must):
        raise TargetError(name, "it must be given keyword arguments", FORMS)
    positional = [p for p in must if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    if positional:
        return len(positional)
    takes_any = any(
        p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL} for p in parameters
    )
    return 1 if takes_any else 0


def describe(target: Any) -> str:
    """Names a target for people: `module.function`, or the class of an object.

    Example:
        >>> describe(describe)
        'manycore.server.handlers.describe'
    """
    named = target if hasattr(target, "__qualname__") else type(target)
    module = getattr(named, "__module__", None)
    return f"{module}.{named.__qualname__}" if module else str(named.__qualname__)
