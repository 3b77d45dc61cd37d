"""Writes the pages that are made from the code. A test asserts that they are up to date."""

from __future__ import annotations

from pathlib import Path

from manycore.settings import MapSettings, ServeSettings, Settings, key, shown, table, variable

SETTINGS = Path(__file__).parent / "settings.md"

_HEAD = """\
# Settings

<!-- Made by docs/generate.py from manycore/settings. Change it there. -->

Each setting is a flag of `manycore serve` and `manycore check`, an environment variable, a key in
`manycore.toml` or in `[tool.manycore]` of `pyproject.toml`, and an argument of `manycore.serve` and
`manycore.Server`. A flag overrides a variable, a variable the file, and the file the default. The
two functions read neither variables nor files.

```toml
# manycore.toml
bind = ["0.0.0.0:8888", "unix:/run/app.sock"]
workers = 4
graceful-timeout = 20.0
```

`--config FILE` names another settings file. A key that is no setting is an error.
"""


_MAP = """\
# Settings of `manycore map`

Each is a flag of `manycore map`, an environment variable, and a key in the table `map` of
`manycore.toml`, or in `[tool.manycore.map]` of `pyproject.toml`.
"""


def settings_page() -> str:
    """Makes the page of settings."""
    return "\n".join([_HEAD, *_rows(ServeSettings), _MAP, *_rows(MapSettings)])


def _rows(kind: type[Settings]) -> list[str]:
    lines, topic = [], ""
    for name, setting in table(kind).items():
        if setting.topic != topic:
            topic = setting.topic
            lines.append(f"## {topic}\n")
        lines.append(f"### `{key(name)}`\n")
        lines.append(f"{setting.text}\n")
        flags = ", ".join(f"`{f'{flag} {setting.metavar}'.rstrip()}`" for flag in setting.flags)
        lines.append(f"- flag: {flags}")
        lines.append(f"- variable: `{variable(name, kind.section)}`")
        if not kind.section:
            lines.append(f"- argument: `{name}`")
        lines.append(f"- default: `{shown(setting.default)}`\n")
    return lines


if __name__ == "__main__":
    SETTINGS.write_text(settings_page(), encoding="utf-8")
