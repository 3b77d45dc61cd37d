"""`manycore ps`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

import click

from manycore.base.tree import ProcessNode, forest

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400  # seconds
_LONGEST_NAME: Final = 60  # characters


@click.command()
@click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON: the same trees, in full.")
def ps(*, as_json: bool) -> None:
    """Shows every manycore process of this machine, as a tree.

    A program is shown with the processes that it started, a template with its program. CPU is the
    time used since the start, memory what is resident, with what is shared.
    """
    trees = forest()
    if as_json:
        click.echo(json.dumps([asdict(tree) for tree in trees], indent=2))
        return
    click.echo(f"{'PID':>8} {'AGE':>6} {'CPU':>8} {'MEMORY':>8}  PROCESS")
    for tree in trees:
        for line in _lines(tree, "", ""):
            click.echo(line)


def _lines(node: ProcessNode, before: str, below: str) -> Iterator[str]:
    figures = f"{node.pid:>8} {_age(node.age):>6} {node.cpu_seconds:>7.1f}s {_size(node.rss):>8}"
    daemon = ", daemon" if node.daemon else ""
    name = node.name if len(node.name) <= _LONGEST_NAME else node.name[: _LONGEST_NAME - 1] + "…"
    yield f"{figures}  {before}{node.role} {name}{daemon}"
    for index, child in enumerate(node.children):
        last = index == len(node.children) - 1
        yield from _lines(
            child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  ")
        )


def _age(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{seconds:.1f}s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f}m"
    return f"{seconds / _HOUR:.0f}h" if seconds < _DAY else f"{seconds / _DAY:.0f}d"


def _size(count: int) -> str:
    return f"{count / 2**20:.1f}M" if count < 2**30 else f"{count / 2**30:.1f}G"
