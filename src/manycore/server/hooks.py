"""What a program wants to be called for in a server's life: functions of a hooks file.

Rules: a hook that comes before something begins keeps it from beginning when it raises; any other
that raises is told in the log, and all goes on.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from manycore.base import targets
from manycore.errors import SettingsError, TargetError

log = logging.getLogger("manycore.server")

#: in the supervisor, called with the server, and with the worker or the numbers it is about
IN_SUPERVISOR: Final = (
    "on_starting",
    "nworkers_changed",
    "pre_fork",
    "when_ready",
    "on_reload",
    "pre_exec",
    "child_exit",
    "on_exit",
)
#: in each worker: some are called with the server and the worker, some with the worker
IN_WORKER: Final = ("post_fork", "post_worker_init", "worker_int", "worker_abort", "worker_exit")
NAMES: Final = (*IN_SUPERVISOR, *IN_WORKER)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server, as a hook is told of it.

    Attributes:
        name: What is served.
        pid: The supervisor's process id.
        addresses: Where it listens.
        workers: How many workers it began with.
    """

    name: str
    pid: int
    addresses: tuple[str, ...]
    workers: int


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """A worker, as a hook is told of it.

    Attributes:
        number: Its place, from 1.
        pid: Its process id; 0 before it has begun and once it has ended.
        generation: How many reloads came before it.
    """

    number: int
    pid: int
    generation: int


class Hooks:
    """The hooks of one server.

    Args:
        functions: By name.
        place: Where they were found, for errors.
    """

    def __init__(self, functions: Mapping[str, Callable[..., object]], place: str) -> None:
        self._functions = functions
        self._place = place

    @classmethod
    def of(cls, place: str) -> Hooks:
        """Imports a module, or a file, and takes its hooks.

        Args:
            place: `package.module` or `path/to/file.py`; nothing: there are no hooks.

        Raises:
            TargetError: When it cannot be imported.
            SettingsError: When it has none.
        """
        if not place:
            return cls({}, place)
        found = vars(targets.load_module(place))
        functions = {name: found[name] for name in NAMES if callable(found.get(name))}
        if not functions:
            raise SettingsError("--hooks", f"{place} has none of {', '.join(NAMES)}", "define one")
        return cls(functions, place)

    def __contains__(self, name: str) -> bool:
        return name in self._functions

    def require(self, name: str, *facts: Any) -> None:
        """Calls a hook, if there is one, that must not fail.

        Raises:
            TargetError: When it raised.
        """
        try:
            self._call(name, facts)
        except (Exception, SystemExit) as error:
            said = f"it raised {type(error).__name__}: {error}"
            details = "".join(traceback.format_exception(error))
            remedy = "correct that, then start again"
            raise TargetError(f"{self._place}:{name}", said, remedy, details) from error

    def call(self, name: str, *facts: Any) -> None:
        """Calls a hook, if there is one; what it raises is told in the log."""
        try:
            self._call(name, facts)
        except (Exception, SystemExit):
            log.exception("the hook %s of %s failed; all goes on", name, self._place)

    def _call(self, name: str, facts: tuple[Any, ...]) -> None:
        function = self._functions.get(name)
        if function is not None:
            function(*facts)
