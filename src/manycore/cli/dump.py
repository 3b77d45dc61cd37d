"""`manycore dump`: where every thread of a running server is."""

from __future__ import annotations

from typing import Any

import click

from manycore.base.stacks import describe, stack_of

from .control import connect, print_answer, server_options


@click.command()
@server_options
def dump(name: str | None, path: str | None, *, as_json: bool) -> None:
    """Shows where every thread of every worker is, and every task or greenlet.

    Nothing is stopped. A worker that some C code keeps from answering is looked at from outside;
    its tasks and greenlets, and the names of its threads, are not known then.
    """
    with connect(name, path) as server:
        answer = server.ask("dump")
    print_answer(answer, "\n\n".join(map(_describe, answer["workers"])), as_json=as_json)


def _describe(worker: dict[str, Any]) -> str:
    head = f"worker {worker['worker']}, pid {worker['pid']}, generation {worker['generation']}"
    if worker["note"]:
        head += f": {worker['note']}"
    return f"{head}\n\n{describe(map(stack_of, worker['stacks']))}".rstrip()
