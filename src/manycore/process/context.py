"""The rest of `multiprocessing`'s names, for processes that are not forked from this one.

A queue, an event or a value is the standard library's own; the semaphores in it are ours, so that
it can be handed to a process however that is started.
"""

from __future__ import annotations

import sys
from multiprocessing import context
from typing import Any

from . import methods
from .methods import START_METHODS
from .process import Process


class ForkProcess(Process):
    """A process that is forked from this one."""

    _preset = "fork"


class SpawnProcess(Process):
    """A process in a fresh interpreter."""

    _preset = "spawn"


class ForkServerProcess(Process):
    """A process that is forked from the template."""

    _preset = "forkserver"


_PROCESSES: dict[str, type[Process]] = {
    "template": Process,
    "fork": ForkProcess,
    "spawn": SpawnProcess,
    "forkserver": ForkServerProcess,
}


class Context(context.BaseContext):
    """What `multiprocessing.get_context` gives, for manycore's processes.

    Args:
        method: The start method of its processes; None: the program's default.
    """

    def __init__(self, method: str | None = None) -> None:
        self._method = method
        self.Process: type[Process] = Process if method is None else _PROCESSES[method]

    if sys.platform == "linux":

        def Lock(self) -> Any:  # noqa: N802  # the standard library's name
            """A lock that processes share."""
            from .synchronize import Lock

            return Lock()

        def RLock(self) -> Any:  # noqa: N802
            """A lock that its holder may take again."""
            from .synchronize import RLock

            return RLock()

        def Semaphore(self, value: int = 1) -> Any:  # noqa: N802
            """A semaphore."""
            from .synchronize import Semaphore

            return Semaphore(value)

        def BoundedSemaphore(self, value: int = 1) -> Any:  # noqa: N802
            """A semaphore that cannot be released too often."""
            from .synchronize import BoundedSemaphore

            return BoundedSemaphore(value)

    def get_context(self, method: str | None = None) -> Any:
        """Gives the context of a start method.

        Raises:
            ValueError: When there is no such method.
        """
        return self if method is None else Context(methods.chosen_method(method))

    def get_start_method(self, allow_none: bool = False) -> Any:  # noqa: FBT001, FBT002
        """Gives the start method; None, if that is allowed, when none was set."""
        if self._method is None and allow_none:
            return methods.default()
        return self._method or methods.chosen_method(None)

    def set_start_method(self, method: str | None, force: bool = False) -> None:  # noqa: FBT001, FBT002
        """Sets the program's default start method.

        Raises:
            RuntimeError: When it was set before, without `force`.
            ValueError: When there is no such method.
        """
        methods.set_default(method, force=force)

    def get_all_start_methods(self) -> list[str]:
        """Gives the start methods there are."""
        return list(START_METHODS)

    def set_forkserver_preload(self, module_names: list[str]) -> None:
        """Preloads modules in the template; see `manycore.preload`."""
        from manycore.base.template import preload

        preload(*(name for name in module_names if name != "__main__"))

    def cpu_count(self) -> int:
        """Gives the number of CPUs that are ours; see `manycore.cpu_count`."""
        from manycore.base.cpus import cpu_count

        return cpu_count()


_default = Context()

Array = _default.Array
Barrier = _default.Barrier
BoundedSemaphore = _default.BoundedSemaphore
Condition = _default.Condition
Event = _default.Event
JoinableQueue = _default.JoinableQueue
Lock = _default.Lock
Pipe = _default.Pipe
Queue = _default.Queue
RLock = _default.RLock
RawArray = _default.RawArray
RawValue = _default.RawValue
Semaphore = _default.Semaphore
SimpleQueue = _default.SimpleQueue
Value = _default.Value
get_all_start_methods = _default.get_all_start_methods
get_context = _default.get_context
get_start_method = _default.get_start_method
set_forkserver_preload = _default.set_forkserver_preload
set_start_method = _default.set_start_method
