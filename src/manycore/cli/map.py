"""`manycore map TARGET`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from manycore.base import logs
from manycore.errors import ExitCode
from manycore.settings import MapSettings, gather

from .options import map_options
from .page import MapPageCommand

if TYPE_CHECKING:
    from manycore.mapping.run import Summary


@click.command("map", cls=MapPageCommand)
@click.argument("target")
@map_options
def map(target: str, config: Path | None, **flags: Any) -> int:  # noqa: A001  # the command's name
    """Calls a function with every line of a file, on every core; writes a line of JSON for each.

    Target
      module:function             a function of a module that can be imported from here
      path/to/file.py:function    a function of a file
      The function takes one argument. What it returns is written as JSON.

    Example:
      $ cat sizes.py
      import os.path
      def size(path):
          return os.path.getsize(path)
      $ manycore map sizes.py:size --input 'images/*.png' --output sizes.jsonl --journal run.journal
      $ head -1 sizes.jsonl
      {"line": 1, "item": "images/a.png", "result": 81920}

    An item that fails has "error" and "traceback" in place of "result", and ends nothing else.
    With --journal the same command, run again, does what is missing: what was not done when it
    was ended, by kill -9 say, and what failed.

    Every setting below is also an environment variable and a key of the table map in
    manycore.toml, or of [tool.manycore.map] in pyproject.toml, with the flag's name.

    Settings

    Exit codes
      0    all items are done          2    a setting is wrong, or the journal is another map's
      1    some failed, or it could    4    the target could not be loaded
           not go on                   130  Ctrl-C: what is done is in the journal
    """
    settings, _ = gather(flags, file=config, kind=MapSettings)
    try:
        return _run(target, settings)
    except KeyboardInterrupt:
        logs.say("interrupted")
        return ExitCode.INTERRUPTED


def _run(target: str, settings: MapSettings) -> int:
    from manycore.mapping.run import Run

    run = Run(target, settings)
    try:
        run.run()
    except KeyboardInterrupt:
        logs.say(f"interrupted: {_progress(run.summary)}{_how_to_go_on(settings)}")
        return ExitCode.INTERRUPTED
    for line in run.summary.lines(settings.output):
        logs.say(line)
    return ExitCode.FAILED if run.summary.failed else ExitCode.OK


def _progress(summary: Summary) -> str:
    of = "" if summary.total is None else f" of {summary.total:,}"
    return f"{summary.done - summary.failed:,}{of} items are done"


def _how_to_go_on(settings: MapSettings) -> str:
    return "; the same command does the others" if settings.journal else ""
