"""Work on every core, and none of it lost.

Every public name is here, and is imported when it is first used: `import manycore` costs next to
nothing. `import manycore as multiprocessing` is the upgrade path: the standard library's names are
all here, ours where ours is better.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing import AuthenticationError as AuthenticationError
    from multiprocessing import BufferTooShort as BufferTooShort
    from multiprocessing import ProcessError as ProcessError
    from multiprocessing import TimeoutError as TimeoutError  # noqa: A004
    from multiprocessing import active_children as active_children
    from multiprocessing import allow_connection_pickling as allow_connection_pickling
    from multiprocessing import current_process as current_process
    from multiprocessing import freeze_support as freeze_support
    from multiprocessing import get_logger as get_logger
    from multiprocessing import log_to_stderr as log_to_stderr
    from multiprocessing import parent_process as parent_process
    from multiprocessing import set_executable as set_executable

    from .base.cpus import cpu_count as cpu_count
    from .base.facts import ProcessStatistics as ProcessStatistics
    from .base.template import preload as preload
    from .base.tree import ProcessNode as ProcessNode
    from .base.tree import tree as tree
    from .base.worker_lost import WorkerLost as WorkerLost
    from .errors import BindError as BindError
    from .errors import BootError as BootError
    from .errors import ManycoreError as ManycoreError
    from .errors import MapError as MapError
    from .errors import MapRefused as MapRefused
    from .errors import MissingExtra as MissingExtra
    from .errors import NotInServerError as NotInServerError
    from .errors import RemoteError as RemoteError
    from .errors import SendError as SendError
    from .errors import SettingsError as SettingsError
    from .errors import StateClosed as StateClosed
    from .errors import StateDamaged as StateDamaged
    from .errors import StateError as StateError
    from .errors import StateFull as StateFull
    from .errors import StateRefused as StateRefused
    from .errors import StateTypeError as StateTypeError
    from .errors import SupervisorLost as SupervisorLost
    from .errors import TargetError as TargetError
    from .errors import TaskTimeout as TaskTimeout
    from .pool.classic import Pool as Pool
    from .pool.executor import Executor as Executor
    from .pool.explain import Explanation as Explanation
    from .pool.lost import TaskLost as TaskLost
    from .pool.neighbours import register_joblib as register_joblib
    from .pool.seeds import seeded as seeded
    from .pool.seeds import task_seed as task_seed
    from .pool.statistics import PoolStatistics as PoolStatistics
    from .pool.statistics import PoolWorkerStatistics as PoolWorkerStatistics
    from .pool.statistics import TimeSpent as TimeSpent
    from .pool.threads import ThreadPool as ThreadPool
    from .process.context import Array as Array
    from .process.context import Barrier as Barrier
    from .process.context import BoundedSemaphore as BoundedSemaphore
    from .process.context import Condition as Condition
    from .process.context import Event as Event
    from .process.context import JoinableQueue as JoinableQueue
    from .process.context import Lock as Lock
    from .process.context import Pipe as Pipe
    from .process.context import Queue as Queue
    from .process.context import RawArray as RawArray
    from .process.context import RawValue as RawValue
    from .process.context import RLock as RLock
    from .process.context import Semaphore as Semaphore
    from .process.context import SimpleQueue as SimpleQueue
    from .process.context import Value as Value
    from .process.context import get_all_start_methods as get_all_start_methods
    from .process.context import get_context as get_context
    from .process.context import get_start_method as get_start_method
    from .process.context import set_forkserver_preload as set_forkserver_preload
    from .process.context import set_start_method as set_start_method
    from .process.process import Process as Process
    from .server.draining import draining as draining
    from .server.draining import draining_event as draining_event
    from .server.offloading import offload as offload
    from .server.server import Server as Server
    from .server.server import serve as serve
    from .server.sharing import shared as shared
    from .server.sleeping import sleep as sleep
    from .server.statistics import ServerStatistics as ServerStatistics
    from .server.statistics import WorkerStatistics as WorkerStatistics
    from .state.manager import Manager as Manager

_HOMES = {
    "Array": ".process.context",
    "AuthenticationError": "multiprocessing",
    "Barrier": ".process.context",
    "BindError": ".errors",
    "BootError": ".errors",
    "BoundedSemaphore": ".process.context",
    "BufferTooShort": "multiprocessing",
    "Condition": ".process.context",
    "Event": ".process.context",
    "Executor": ".pool.executor",
    "Explanation": ".pool.explain",
    "JoinableQueue": ".process.context",
    "Lock": ".process.context",
    "Manager": ".state.manager",
    "ManycoreError": ".errors",
    "MapError": ".errors",
    "MapRefused": ".errors",
    "MissingExtra": ".errors",
    "NotInServerError": ".errors",
    "Pipe": ".process.context",
    "Pool": ".pool.classic",
    "PoolStatistics": ".pool.statistics",
    "PoolWorkerStatistics": ".pool.statistics",
    "Process": ".process.process",
    "ProcessError": "multiprocessing",
    "ProcessNode": ".base.tree",
    "ProcessStatistics": ".base.facts",
    "Queue": ".process.context",
    "RLock": ".process.context",
    "RawArray": ".process.context",
    "RawValue": ".process.context",
    "RemoteError": ".errors",
    "Semaphore": ".process.context",
    "SendError": ".errors",
    "Server": ".server.server",
    "ServerStatistics": ".server.statistics",
    "SettingsError": ".errors",
    "SimpleQueue": ".process.context",
    "StateClosed": ".errors",
    "StateDamaged": ".errors",
    "StateError": ".errors",
    "StateFull": ".errors",
    "StateRefused": ".errors",
    "StateTypeError": ".errors",
    "SupervisorLost": ".errors",
    "TargetError": ".errors",
    "TaskLost": ".pool.lost",
    "TaskTimeout": ".errors",
    "ThreadPool": ".pool.threads",
    "TimeSpent": ".pool.statistics",
    "TimeoutError": "multiprocessing",
    "Value": ".process.context",
    "WorkerLost": ".base.worker_lost",
    "WorkerStatistics": ".server.statistics",
    "active_children": "multiprocessing",
    "allow_connection_pickling": "multiprocessing",
    "cpu_count": ".base.cpus",
    "current_process": "multiprocessing",
    "draining": ".server.draining",
    "draining_event": ".server.draining",
    "freeze_support": "multiprocessing",
    "get_all_start_methods": ".process.context",
    "get_context": ".process.context",
    "get_logger": "multiprocessing",
    "get_start_method": ".process.context",
    "log_to_stderr": "multiprocessing",
    "offload": ".server.offloading",
    "parent_process": "multiprocessing",
    "preload": ".base.template",
    "register_joblib": ".pool.neighbours",
    "seeded": ".pool.seeds",
    "serve": ".server.server",
    "set_executable": "multiprocessing",
    "set_forkserver_preload": ".process.context",
    "set_start_method": ".process.context",
    "shared": ".server.sharing",
    "sleep": ".server.sleeping",
    "task_seed": ".pool.seeds",
    "tree": ".base.tree",
}

__all__ = [
    "Array",
    "AuthenticationError",
    "Barrier",
    "BindError",
    "BootError",
    "BoundedSemaphore",
    "BufferTooShort",
    "Condition",
    "Event",
    "Executor",
    "Explanation",
    "JoinableQueue",
    "Lock",
    "Manager",
    "ManycoreError",
    "MapError",
    "MapRefused",
    "MissingExtra",
    "NotInServerError",
    "Pipe",
    "Pool",
    "PoolStatistics",
    "PoolWorkerStatistics",
    "Process",
    "ProcessError",
    "ProcessNode",
    "ProcessStatistics",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "RemoteError",
    "Semaphore",
    "SendError",
    "Server",
    "ServerStatistics",
    "SettingsError",
    "SimpleQueue",
    "StateClosed",
    "StateDamaged",
    "StateError",
    "StateFull",
    "StateRefused",
    "StateTypeError",
    "SupervisorLost",
    "TargetError",
    "TaskLost",
    "TaskTimeout",
    "ThreadPool",
    "TimeSpent",
    "TimeoutError",
    "Value",
    "WorkerLost",
    "WorkerStatistics",
    "active_children",
    "allow_connection_pickling",
    "cpu_count",
    "current_process",
    "draining",
    "draining_event",
    "freeze_support",
    "get_all_start_methods",
    "get_context",
    "get_logger",
    "get_start_method",
    "log_to_stderr",
    "offload",
    "parent_process",
    "preload",
    "register_joblib",
    "seeded",
    "serve",
    "set_executable",
    "set_forkserver_preload",
    "set_start_method",
    "shared",
    "sleep",
    "task_seed",
    "tree",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("manycore")
    if name == "reducer":  # no name of ours, but one that multiprocessing has
        import multiprocessing

        return multiprocessing.reducer
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
