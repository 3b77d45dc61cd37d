"""Every setting, once.

Each subject has a module, and each setting a row there. The row is the whole definition of a
setting: from it come the flag of the command, the `MANYCORE_…` variable, the key in
`[tool.manycore]` of pyproject.toml (or at the top of manycore.toml), the argument of `serve` and
`Server`, the help text and the page in the docs. `ServeSettings` puts them together.

`MapSettings` are those of `manycore map`: their variables begin with `MANYCORE_MAP_`, and their
keys are in a table `map` of the same file.

A flag overrides a variable, a variable the file, and the file the default.
"""

from __future__ import annotations

from .facts import Setting, key, parse, shown, variable
from .gathering import FILES, Settings, find_file, gather, read_file, table
from .mapping import MapSettings
from .running import NO_CONTROL
from .serving import ServeSettings
from .values import MOST_WORKERS
from .working import MODES

__all__ = [
    "FILES",
    "MODES",
    "MOST_WORKERS",
    "NO_CONTROL",
    "MapSettings",
    "ServeSettings",
    "Setting",
    "Settings",
    "find_file",
    "gather",
    "key",
    "parse",
    "read_file",
    "shown",
    "table",
    "variable",
]
