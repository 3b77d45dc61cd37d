"""`manycore serve TARGET`."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click

from manycore.base import sockets
from manycore.base.addresses import InheritedSocket
from manycore.settings import ServeSettings, gather

from .options import settings_options
from .page import PageCommand


@click.command(cls=PageCommand)
@click.argument("target")
@settings_options
def serve(target: str, config: Path | None, **flags: Any) -> NoReturn:
    """Serves connections on every core: one worker process for each CPU, threads, asyncio or
    greenlets in each, one listening socket, all supervised.

    Target
      module:function             a function of a module that can be imported from here
      path/to/file.py:function    a function of a file
      The function takes the connection, or the connection and the client's address:
      the connection is a socket.socket, and is closed when the function returns.
      Subclasses of socketserver.BaseRequestHandler and callable objects will do as well.
      async def handle(reader, writer) and subclasses of asyncio.Protocol are served in asyncio,
      ASGI applications with --asgi, WSGI applications with --wsgi.
      The name behind the colon may be dotted.

    Example:
      $ cat echo.py
      def handle(conn):
          while data := conn.recv(1000):
              conn.sendall(data)
      $ manycore serve echo.py:handle --bind 127.0.0.1:8888 --workers 2

    Every setting below is also an environment variable and a key in manycore.toml, or in
    [tool.manycore] of pyproject.toml, with the flag's name: threads = 64, log-level = "debug".
    A flag overrides a variable, a variable the file, and the file the default.

    Settings

    Signals
      TERM         stops gracefully: what is queued is served, open connections may finish
      INT, QUIT    stops quickly: open connections are ended; a second INT kills at once
      HUP          reloads: new workers import the code anew, one at a time; then old ones drain
      TTIN, TTOU   one worker more, one worker fewer
      USR1         opens the log file anew, in every process
      USR2         upgrades: a new supervisor takes over, with no connection lost

    A running server is asked and told things by manycore status, reload, scale and stop.

    Exit codes
      0  stopped as asked        3  workers could not boot
      1  failed                  4  the target could not be loaded
      2  a setting is wrong
    """  # noqa: D205  # it is the help page
    from manycore.server import launch, server, statistics
    from manycore.server.entrance import check_entrance
    from manycore.server.job import Job, Parcel
    from manycore.server.plan import require_extras
    from manycore.server.upgrade import Handover

    launch.hold_stops_back()
    handover = Handover.take(os.environ)
    settings = settings_for_this_process(flags, config, handover.passed() if handover else ())
    require_extras(settings)
    check_entrance(settings)
    if settings.umask is not None:
        os.umask(settings.umask)  # of the sockets' files too
    if handover is None:
        listeners = server.listen(settings)
    else:
        listeners = handover.listen(settings.bind, partial(server.listen_at, settings))
    board = statistics.create_board()
    job = Job.of_text(target, settings)
    facts = [entry.facts() for entry in listeners]
    command = [sys.executable, *sys.orig_argv[1:]]
    launch.replace_process(Parcel(job, facts, board.fd, command=command, handover=handover))


def settings_for_this_process(
    flags: dict[str, Any], config: Path | None, handed: tuple[InheritedSocket, ...] = ()
) -> ServeSettings:
    """Gathers the settings; sockets that the service manager passed take the default's place."""
    settings, chosen = gather(flags, file=config)
    passed = tuple(sockets.systemd_sockets(os.environ))
    if handed:
        known = settings.bind if "bind" in chosen else ()
        passed = tuple(one for one in handed if one not in known)
    sockets.forget_systemd_sockets(os.environ)
    if passed:
        settings = replace(settings, bind=passed + (settings.bind if "bind" in chosen else ()))
    return settings
