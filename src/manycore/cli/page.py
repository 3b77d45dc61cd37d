"""A command whose help reads like a page of documentation."""

from __future__ import annotations

import inspect

import click

from manycore.settings import MapSettings, ServeSettings, Settings

from .options import write_settings


class PageCommand(click.Command):
    """Shows its docstring as it is written, then the settings by topic, then its last words."""

    settings: type[Settings] = ServeSettings

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the page."""
        self.format_usage(ctx, formatter)
        formatter.write_paragraph()
        before, _, after = inspect.cleandoc(self.help or "").partition("\n\nSettings\n")
        formatter.write(before + "\n")
        write_settings(formatter, self.settings)
        with formatter.section("Other"):
            rows = [p.get_help_record(ctx) for p in self.get_params(ctx) if p.name in _OTHERS]
            formatter.write_dl([row for row in rows if row is not None], col_max=6)
        if after:
            formatter.write_paragraph()
            formatter.write(after.strip() + "\n")


class MapPageCommand(PageCommand):
    """The same, with the settings of a map."""

    settings = MapSettings


_OTHERS = {"config", "help"}
