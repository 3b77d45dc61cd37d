"""Work on every core, and none of it lost.

Every public name is here, and is imported when it is first used: `import manycore` costs next to
nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base.cpus import cpu_count as cpu_count
    from .errors import BindError as BindError
    from .errors import BootError as BootError
    from .errors import ManycoreError as ManycoreError
    from .errors import SettingsError as SettingsError
    from .errors import StateClosed as StateClosed
    from .errors import StateDamaged as StateDamaged
    from .errors import StateError as StateError
    from .errors import StateFull as StateFull
    from .errors import StateRefused as StateRefused
    from .errors import StateTypeError as StateTypeError
    from .errors import SupervisorLost as SupervisorLost
    from .errors import TargetError as TargetError
    from .server.server import Server as Server
    from .server.server import serve as serve
    from .server.statistics import ServerStatistics as ServerStatistics
    from .server.statistics import WorkerStatistics as WorkerStatistics
    from .state.manager import Manager as Manager

_HOMES = {
    "BindError": ".errors",
    "BootError": ".errors",
    "Manager": ".state.manager",
    "ManycoreError": ".errors",
    "Server": ".server.server",
    "ServerStatistics": ".server.statistics",
    "SettingsError": ".errors",
    "StateClosed": ".errors",
    "StateDamaged": ".errors",
    "StateError": ".errors",
    "StateFull": ".errors",
    "StateRefused": ".errors",
    "StateTypeError": ".errors",
    "SupervisorLost": ".errors",
    "TargetError": ".errors",
    "WorkerStatistics": ".server.statistics",
    "cpu_count": ".base.cpus",
    "serve": ".server.server",
}

__all__ = [
    "BindError",
    "BootError",
    "Manager",
    "ManycoreError",
    "Server",
    "ServerStatistics",
    "SettingsError",
    "StateClosed",
    "StateDamaged",
    "StateError",
    "StateFull",
    "StateRefused",
    "StateTypeError",
    "SupervisorLost",
    "TargetError",
    "WorkerStatistics",
    "cpu_count",
    "serve",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("manycore")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
