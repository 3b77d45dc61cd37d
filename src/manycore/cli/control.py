"""`manycore status`, `reload`, `scale` and `stop`: what a running server is asked and told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

from manycore.errors import ControlError, ExitCode
from manycore.watch import places
from manycore.watch.client import ControlClient

F = TypeVar("F", bound=Callable[..., Any])


def server_options(command: F) -> F:
    """Gives a command the options by which it finds its server."""
    for option in (
        click.option("-n", "--name", metavar="NAME", help="The server's name."),
        click.option("--control-socket", "path", metavar="PATH", help="Its control socket."),
        click.option("-j", "--json", "as_json", is_flag=True, help="Print the answer as JSON."),
    ):
        command = option(command)
    return command


def connect(name: str | None, path: str | None) -> ControlClient:
    """Connects to the server that the options name."""
    return ControlClient(places.find(name, path))


def print_answer(answer: Any, text: str, *, as_json: bool) -> None:
    """Prints an answer, as text or as JSON."""
    click.echo(json.dumps(answer) if as_json else text)


@click.command()
@server_options
def status(name: str | None, path: str | None, *, as_json: bool) -> None:
    """Shows a server and its workers: who they are, and what they did."""
    with connect(name, path) as server:
        answer = server.ask("status")
    print_answer(answer, _describe(answer), as_json=as_json)


def _describe(answer: dict[str, Any]) -> str:
    counts = answer["statistics"]
    doing = "stopping" if answer["stopping"] else "reloading" if answer["reloading"] else "serving"
    head = f"{answer['target']} on {' '.join(answer['addresses'])}: {doing}, pid {answer['pid']}, "
    head += f"up {answer['uptime']:.0f} s, generation {answer['generation']}"
    sums = ", ".join(f"{counts[key]} {key}" for key in ("accepted", "open", "failed", "lost"))
    rows = [_COLUMNS, *([worker[key] for key in _COLUMNS] for worker in counts["workers"])]
    return "\n".join([head, sums, "", *("".join(map(_cell, row)) for row in rows)])


_COLUMNS = ["worker", "pid", "state", "generation", "uptime", "restarts"]
_COLUMNS += ["accepted", "open", "failed", "threads", "mode"]


def _cell(value: object) -> str:
    return f"{value:12.0f}" if isinstance(value, float) else f"{value!s:>12}"


@click.command()
@click.option("--wait", is_flag=True, help="Wait until every worker was renewed, or one failed.")
@click.option("--timeout", type=float, metavar="SECONDS", help="How long to wait at most.")
@server_options
def reload(
    name: str | None, path: str | None, *, wait: bool, timeout: float | None, as_json: bool
) -> int:
    """Replaces every worker by a new one, which imports the code anew, without losing a connection.

    A new worker is ready before an old one stops accepting. If a new one cannot boot, the old ones
    go on: with --wait its traceback is shown, and the exit code is 1.
    """
    with connect(name, path) as server:
        try:
            patience = timeout if wait else 10.0
            answer = server.ask("reload", wait=wait, timeout=patience)
        except ControlError as error:
            if error.details:
                click.echo(error.details.rstrip(), err=True)
            raise
    text = f"{'reloaded' if wait else 'reloading'}: generation {answer['generation']}"
    print_answer(answer, text, as_json=as_json)
    return ExitCode.OK


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("workers", metavar="N|+N|-N")
@server_options
def scale(workers: str, name: str | None, path: str | None, *, as_json: bool) -> None:
    """Changes the number of workers: to N, or by N more or fewer.

    Those that are too many finish what they have open.
    """
    with connect(name, path) as server:
        answer = server.ask("scale", workers=workers)
    print_answer(answer, f"{answer['workers']} workers", as_json=as_json)


@click.command()
@click.option("--quick", is_flag=True, help="End open connections instead of letting them finish.")
@click.option("--wait", is_flag=True, help="Wait until the server has ended.")
@click.option("--timeout", type=float, metavar="SECONDS", help="How long to wait at most.")
@server_options
def stop(
    name: str | None,
    path: str | None,
    *,
    quick: bool,
    wait: bool,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Stops a server: what is queued is served, and open connections may finish."""
    with connect(name, path) as server:
        answer = server.ask("stop", quick=quick)
        if wait:
            server.wait_for_end(timeout)
    print_answer(answer, "stopped" if wait else "stopping", as_json=as_json)
