"""What is known of a setting: its row, from which all its names come."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from manycore.errors import SettingsError

PREFIX = "MANYCORE_"


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of one setting, besides its name.

    Attributes:
        parse: Text or a TOML value to the setting's value; raises ValueError with the problem.
        default: What it is when nobody sets it, before `parse`.
        flags: The flag and, perhaps, its short form.
        metavar: What stands behind the flag in the help.
        remedy: What to write instead of a value that is wrong.
        topic: The heading under which the help shows it.
        text: What it means.
        many: The flag may be given several times.
        switch: The flag takes no value: to give it is to say yes.
    """

    parse: Callable[[Any], Any]
    default: Any
    flags: tuple[str, ...]
    metavar: str
    remedy: str
    topic: str
    text: str
    many: bool = False
    switch: bool = False


def setting(default: Any, parse: Callable[[Any], Any], *flags: str, **facts: Any) -> Any:
    """Writes a row: see `Setting`."""
    return dataclasses.field(
        default=default, metadata={"setting": Setting(parse, default, flags, **facts)}
    )


def rows(kind: type[Any]) -> dict[str, Setting]:
    """Every setting of a class by its name, in the order of the help."""
    return {field.name: field.metadata["setting"] for field in dataclasses.fields(kind)}


def parse_all(settings: Any) -> None:
    """Makes every value of an object of such a class what it shall be.

    Raises:
        SettingsError: For the first that is wrong.
    """
    for name, row in rows(type(settings)).items():
        object.__setattr__(settings, name, parse(row, getattr(settings, name), name))


def parse(setting: Setting, value: Any, where: str) -> Any:
    """Reads one value.

    Raises:
        SettingsError: When it is wrong; it names `where` the value was written.
    """
    try:
        return setting.parse(value)
    except SettingsError:
        raise  # cpu_count read a variable that is wrong itself
    except ValueError as error:
        raise SettingsError(where, str(error), setting.remedy) from None


def shown(default: Any) -> str:
    """Writes a default as in a file.

    Example:
        >>> shown(False)
        'false'
    """
    return str(default).lower() if isinstance(default, bool) else str(default)


def variable(name: str, section: str = "") -> str:
    """Gives the environment variable of a setting.

    Example:
        >>> variable("log_level")
        'MANYCORE_LOG_LEVEL'
        >>> variable("retries", "map")
        'MANYCORE_MAP_RETRIES'
    """
    return PREFIX + "_".join(filter(None, (section, name))).upper()


def key(name: str) -> str:
    """Gives the TOML key of a setting.

    Example:
        >>> key("log_level")
        'log-level'
    """
    return name.replace("_", "-")
