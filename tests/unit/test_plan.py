"""Which mode serves which form of target, and what is said when none does."""

from __future__ import annotations

import asyncio
import functools
import socket
import socketserver
import subprocess
import sys
from typing import Any

import pytest

from manycore.errors import MissingExtra, SettingsError, TargetError
from manycore.server import plan as planning
from manycore.server.plan import Form, describe_limit, plan, require_extras
from manycore.settings import ServeSettings


def decide(target: Any, **settings: Any) -> tuple[Form, str]:
    made = plan(target, "the target", "", ServeSettings(**settings))
    return made.form, made.mode


def blocking(conn: socket.socket) -> None: ...


class Request(socketserver.BaseRequestHandler): ...


async def streams(reader: Any, writer: Any) -> None: ...


async def streams_and_default(reader: Any, writer: Any, greeting: bytes = b"") -> None: ...


async def any_arguments(*arguments: Any) -> None: ...


async def greet(greeting: bytes, reader: Any, writer: Any) -> None: ...


class Service:
    async def method(self, reader: Any, writer: Any) -> None: ...

    async def __call__(self, reader: Any, writer: Any) -> None: ...


class Echo(asyncio.Protocol): ...


class Buffered(asyncio.BufferedProtocol): ...


class Greeting(asyncio.Protocol):
    def __init__(self, greeting: bytes) -> None: ...


class Datagrams(asyncio.DatagramProtocol): ...


def make_echo() -> Echo:
    return Echo()


async def application(scope: Any, receive: Any, send: Any) -> None: ...


def wsgi(environ: Any, start_response: Any) -> Any: ...


@pytest.mark.parametrize("target", [blocking, Request])
def test_blocking_handlers(target: Any) -> None:
    """Threads serve them, unless greenlets are asked for."""
    assert decide(target) == (Form.BLOCKING, "threads")
    assert decide(target, mode="threads") == (Form.BLOCKING, "threads")
    assert decide(target, mode="greenlets") == (Form.BLOCKING, "greenlets")


@pytest.mark.parametrize(
    "target",
    [
        streams,
        streams_and_default,
        any_arguments,
        functools.partial(greet, b"hi"),
        Service().method,
        Service(),
    ],
)
def test_coroutine_functions_of_a_reader_and_a_writer(target: Any) -> None:
    """Asyncio serves them, in whatever shape they come."""
    assert decide(target) == (Form.STREAMS, "asyncio")
    assert decide(target, mode="asyncio") == (Form.STREAMS, "asyncio")


@pytest.mark.parametrize("target", [Echo, Buffered, functools.partial(Greeting, b"hi")])
def test_protocols(target: Any) -> None:
    """A class is known by what it is."""
    assert decide(target) == (Form.PROTOCOL, "asyncio")
    assert decide(target, mode="asyncio") == (Form.PROTOCOL, "asyncio")


@pytest.mark.parametrize("target", [make_echo, lambda: Greeting(b"hi")])
def test_factories_of_protocols(target: Any) -> None:
    """What a function gives cannot be seen: the mode settles the doubt."""
    assert decide(target, mode="asyncio") == (Form.PROTOCOL, "asyncio")
    with pytest.raises(TargetError, match="it must be given 0 arguments"):
        decide(target)


def test_applications() -> None:
    """A flag says what they are; it says the mode too."""
    assert decide(application, asgi=True) == (Form.ASGI, "asyncio")
    assert decide(wsgi, wsgi=True) == (Form.WSGI, "threads")
    assert decide(wsgi, wsgi=True, mode="greenlets") == (Form.WSGI, "greenlets")


async def one(conn: Any) -> None: ...


async def generator(_reader: Any, _writer: Any) -> Any:
    yield


@pytest.mark.parametrize(
    ("target", "settings", "said"),
    [
        (one, {}, "it must be given 1 arguments, not a reader and a writer; write async def"),
        (application, {}, "it must be given 3 arguments.*; an ASGI application needs --asgi"),
        (generator, {}, "it is a generator: calling it runs nothing"),
        (streams, {"mode": "threads"}, "it is a coroutine function; .*, or choose mode asyncio"),
        (streams, {"mode": "greenlets"}, "it is a coroutine function"),
        (blocking, {"mode": "asyncio"}, "a plain function, .*; .* choose mode threads or green"),
        (Request, {"mode": "asyncio"}, "a plain function"),
        (42, {"mode": "asyncio"}, "a int cannot be called"),
        (Echo, {"mode": "threads"}, "an asyncio.Protocol cannot be served in mode threads"),
        (Echo, {"mode": "greenlets"}, "an asyncio.Protocol cannot be served in mode greenlets"),
        (Echo(), {}, "it is one protocol, and each connection needs its own; give its class"),
        (Greeting, {}, "it must be given 1 arguments, and is made without any"),
        (Datagrams, {}, "it is a DatagramProtocol, which handles no connections"),
        (42, {"asgi": True}, "a int cannot be called"),
        (42, {"wsgi": True}, "a int cannot be called"),
        (application, {"wsgi": True}, "it is a coroutine function; an ASGI application needs"),
        (blocking, {"wsgi": True}, "it must be given 1 arguments; write application"),
    ],
)
def test_what_cannot_be_served(target: Any, settings: dict[str, Any], said: str) -> None:
    """One line says what is wrong with it, and what to do."""
    with pytest.raises(TargetError, match=said) as caught:
        decide(target, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mode": "gevent"}, "mode: 'gevent' is none of auto, threads, asyncio, greenlets"),
        ({"asgi": True, "wsgi": True}, "asgi: the target cannot be wsgi too"),
        ({"asgi": True, "mode": "threads"}, "asgi: it is served in mode asyncio, not threads"),
        ({"wsgi": True, "mode": "asyncio"}, "wsgi: it would block asyncio"),
        ({"bind": "unix:x", "reuse_port": True}, "reuse_port: none of the addresses is a TCP"),
        ({"asgi": "perhaps"}, "asgi: 'perhaps' is neither yes nor no"),
        ({"connections": 0}, "connections: 0 is below 1"),
        ({"slow": -1}, "slow: -1 is not a number of seconds"),
        ({"loop": "trio"}, "loop: 'trio' is none of auto, uvloop, asyncio"),
    ],
)
def test_settings_that_contradict(settings: dict[str, Any], said: str) -> None:
    """They are refused before anything starts."""
    with pytest.raises(SettingsError, match=said):
        ServeSettings(**settings)


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("0", False), ("ON", True)])
def test_switches_in_text(text: str, value: bool) -> None:
    """Variables and files have words for them."""
    assert ServeSettings(asgi=text).asgi is value  # type: ignore[arg-type]


def test_limits() -> None:
    """Threads have one of their own."""
    settings = ServeSettings(threads=3, connections=7)
    assert plan(blocking, "", "", settings).limit == 3
    assert plan(streams, "", "", settings).limit == 7
    assert describe_limit("threads", settings) == "up to 3 threads each"
    assert describe_limit("greenlets", settings) == "up to 7 connections each in greenlets"


@pytest.mark.parametrize(
    ("settings", "library"),
    [
        ({"mode": "greenlets"}, "greenlet"),
        ({"loop": "uvloop"}, "uvloop"),
        ({"asgi": True}, "uvicorn"),
        ({"wsgi": True}, "cheroot"),
    ],
)
def test_a_library_that_is_not_installed(
    settings: dict[str, Any], library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line names it, and the command that installs it."""
    require_extras(ServeSettings(**settings))
    monkeypatch.setattr(planning, "find_spec", lambda name: None if name == library else name)
    with pytest.raises(MissingExtra, match=rf"needs {library}, which .* 'manycore\[server\]'"):
        require_extras(ServeSettings(**settings))


def test_deciding_imports_no_mode() -> None:
    """Who serves in threads pays for nothing else."""
    code = """
import sys
from manycore.server.plan import plan
from manycore.settings import ServeSettings
plan(lambda conn: None, "", "", ServeSettings())
print([name for name in sys.modules if name in {"asyncio", "greenlet", "uvloop", "uvicorn"}])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
