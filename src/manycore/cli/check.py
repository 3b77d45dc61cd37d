"""`manycore check TARGET`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import settings_options
from .page import PageCommand
from .serve import settings_for_this_process


@click.command(cls=PageCommand)
@click.argument("target")
@settings_options
def check(target: str, config: Path | None, **flags: Any) -> None:
    """Says whether `manycore serve` would start with the same arguments, without starting anything:
    it reads the settings, loads the target and listens for a moment.

    Settings

    Exit codes
      0  it would start          2  a setting is wrong
      1  an address is taken     4  the target could not be loaded
    """  # noqa: D205  # it is the help page
    from manycore.base import targets
    from manycore.server import server
    from manycore.server.entrance import check_entrance
    from manycore.server.plan import describe_limit, plan, require_extras

    settings = settings_for_this_process(flags, config)
    require_extras(settings)
    check_entrance(settings)
    mode = plan(targets.load(target), target, "", settings).mode
    listeners = server.listen(settings)
    where = " ".join(map(str, listeners))
    for listener in listeners:
        listener.close()
    click.echo(
        f"ok: {target} on {where}, {settings.workers} workers with {describe_limit(mode, settings)}"
    )
