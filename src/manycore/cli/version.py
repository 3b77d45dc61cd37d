"""`manycore version`."""

from __future__ import annotations

import platform

import click


@click.command()
def version() -> None:
    """Says which manycore this is, and on what it runs."""
    import manycore

    click.echo(f"manycore {manycore.__version__}, Python {platform.python_version()}")
