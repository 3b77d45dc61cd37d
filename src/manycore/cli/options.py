"""The settings' table as options of a command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from manycore.settings import MapSettings, ServeSettings, Settings, shown, table, variable

F = TypeVar("F", bound=Callable[..., Any])


def settings_options(command: F) -> F:
    """Gives a command a flag for every setting of a server, and `--config`."""
    return _options(command, ServeSettings)


def map_options(command: F) -> F:
    """Gives a command a flag for every setting of a map, and `--config`."""
    return _options(command, MapSettings)


def _options(command: F, kind: type[Settings]) -> F:
    for name, setting in reversed(table(kind).items()):
        shape: dict[str, Any] = (
            {"is_flag": True, "default": None}
            if setting.switch
            else {"metavar": setting.metavar, "multiple": setting.many}
        )
        command = click.option(*setting.flags, name, help=setting.text, **shape)(command)
    return click.option(
        "-c",
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="The settings file, in place of manycore.toml or pyproject.toml in this directory.",
    )(command)


def write_settings(formatter: click.HelpFormatter, kind: type[Settings]) -> None:
    """Writes the settings into a help page, a heading a topic."""
    by_topic: dict[str, list[tuple[str, str]]] = {}
    for name, setting in table(kind).items():
        default = f"[{variable(name, kind.section)}; default: {shown(setting.default)}]"
        term = f"{', '.join(setting.flags)} {setting.metavar}".rstrip()
        by_topic.setdefault(setting.topic, []).append((term, f"{setting.text} {default}"))
    for topic, rows in by_topic.items():
        with formatter.section(topic):
            formatter.write_dl(rows, col_max=6)
