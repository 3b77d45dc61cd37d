"""Work on every core, and none of it lost.

Every public name is here, and is imported when it is first used: `import manycore` costs next to
nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base.cpus import cpu_count as cpu_count
    from .base.worker_lost import WorkerLost as WorkerLost
    from .errors import BindError as BindError
    from .errors import BootError as BootError
    from .errors import ManycoreError as ManycoreError
    from .errors import RemoteError as RemoteError
    from .errors import SendError as SendError
    from .errors import SettingsError as SettingsError
    from .errors import SupervisorLost as SupervisorLost
    from .errors import TargetError as TargetError
    from .errors import TaskTimeout as TaskTimeout
    from .pool.classic import Pool as Pool
    from .pool.executor import Executor as Executor
    from .pool.lost import TaskLost as TaskLost
    from .server.server import Server as Server
    from .server.server import serve as serve
    from .server.statistics import ServerStatistics as ServerStatistics
    from .server.statistics import WorkerStatistics as WorkerStatistics


_HOMES = {
    "BindError": ".errors",
    "BootError": ".errors",
    "Executor": ".pool.executor",
    "ManycoreError": ".errors",
    "Pool": ".pool.classic",
    "RemoteError": ".errors",
    "SendError": ".errors",
    "Server": ".server.server",
    "ServerStatistics": ".server.statistics",
    "SettingsError": ".errors",
    "SupervisorLost": ".errors",
    "TargetError": ".errors",
    "TaskLost": ".pool.lost",
    "TaskTimeout": ".errors",
    "WorkerLost": ".base.worker_lost",
    "WorkerStatistics": ".server.statistics",
    "cpu_count": ".base.cpus",
    "serve": ".server.server",
}

__all__ = [
    "BindError",
    "BootError",
    "Executor",
    "ManycoreError",
    "Pool",
    "RemoteError",
    "SendError",
    "Server",
    "ServerStatistics",
    "SettingsError",
    "SupervisorLost",
    "TargetError",
    "TaskLost",
    "TaskTimeout",
    "WorkerLost",
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
