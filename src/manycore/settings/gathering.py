"""Settings of flags, the environment and a file, put together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from manycore.errors import SettingsError

from .facts import Setting, key, parse, rows, variable
from .mapping import MapSettings
from .serving import ServeSettings

FILES = ("manycore.toml", "pyproject.toml")

Settings = ServeSettings | MapSettings
S = TypeVar("S", ServeSettings, MapSettings)
_SECTIONS = (MapSettings.section,)


def table(kind: type[Settings] = ServeSettings) -> dict[str, Setting]:
    """Every setting by its name, in the order of the help."""
    return rows(kind)


def gather(
    flags: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
    directory: Path | None = None,
    kind: type[S] = ServeSettings,  # type: ignore[assignment]  # that is what S is then
) -> tuple[S, frozenset[str]]:
    """Puts the settings together: flags over variables over a file over the defaults.

    Args:
        flags: Values by the settings' names; what was not given is None or empty.
        environ: The environment; by default this process's.
        file: The settings file; without one, the first of `FILES` in the directory, if any.
        directory: Where to look for it; by default the working directory.
        kind: Which settings.

    Returns:
        The settings, and the names of those that somebody set.

    Raises:
        SettingsError: Which names the flag, the variable, or the file and key that is wrong.
    """
    environ = os.environ if environ is None else environ
    found = file or find_file(directory or Path())
    written = {} if found is None else read_file(found, kind)
    values: dict[str, Any] = {}
    for name, setting in table(kind).items():
        in_environment = variable(name, kind.section)
        if flags.get(name) not in (None, ()):
            values[name] = parse(setting, flags[name], setting.flags[-1])
        elif environ.get(in_environment):
            values[name] = parse(setting, environ[in_environment], in_environment)
        elif name in written:
            values[name] = parse(setting, written[name], f"{found}: {key(name)}")
    return kind(**values), frozenset(values)


def find_file(directory: Path) -> Path | None:
    """Finds the settings file of a directory: manycore.toml, or a pyproject.toml that has ours."""
    for name in FILES:
        path = directory / name
        if path.is_file() and (name != "pyproject.toml" or "manycore" in _tools(_load(path))):
            return path
    return None


def _tools(content: dict[str, Any]) -> dict[str, Any]:
    tools = content.get("tool")
    return tools if isinstance(tools, dict) else {}


def read_file(path: Path, kind: type[Settings] = ServeSettings) -> dict[str, Any]:
    """Reads a settings file: values by the settings' names, not parsed yet.

    Raises:
        SettingsError: When it cannot be read, is not TOML, or has a key that is no setting.
    """
    content = _load(path)
    values = _tools(content).get("manycore", {}) if path.name == "pyproject.toml" else content
    where = f"{path}: "
    if not isinstance(values, dict):
        raise SettingsError(f"{where}tool.manycore", "it is no table", "write [tool.manycore]")
    if kind.section:
        values = values.get(kind.section, {})
        where += f"{kind.section}."
        if not isinstance(values, dict):
            raise SettingsError(where[:-1], "it is no table", f"write [{kind.section}]")
    else:
        values = {written: value for written, value in values.items() if written not in _SECTIONS}
    known = {key(name): name for name in table(kind)} | {name: name for name in table(kind)}
    for written in values:
        if written not in known:
            raise SettingsError(
                f"{where}{written}", "there is no such setting", _suggestion(written, kind)
            )
    return {known[written]: value for written, value in values.items()}


def _suggestion(written: str, kind: type[Settings]) -> str:
    import difflib  # only a mistake needs it

    names = [key(name) for name in table(kind)]
    close = difflib.get_close_matches(written, names, n=1)
    return f"did you mean {close[0]}?" if close else f"the settings are {', '.join(names)}"


def _load(path: Path) -> dict[str, Any]:
    import tomllib  # only the command reads files; its workers do not

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
        raise SettingsError(str(path), problem, "name a file that can be read") from None
    except (ValueError, RecursionError) as error:
        raise SettingsError(str(path), f"it is not TOML ({error})", "correct that place") from None
