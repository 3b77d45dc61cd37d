"""Reload when a file changes, for development: a process of its own looks, the server only listens.

Guarantees: the supervisor is woken by a change and by nothing else; many changes at once are one;
the process ends with the supervisor, and the server goes on without it.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from manycore.base import lifetime
from manycore.base.interpreter import command
from manycore.base.titles import set_title

if TYPE_CHECKING:
    from manycore.supervise.supervisor import Supervisor

log = logging.getLogger("manycore.server")

QUIET: Final = 50  # milliseconds without a change: what an editor saves, or a checkout, is done
LONGEST: Final = 1600  # milliseconds until a change is told, however many follow
SHOWN: Final = 3  # changed files that are named
_READ_SIZE: Final = 65_536  # bytes: what a pipe holds


def places_to_watch(target: str, extra: Sequence[str], here: Path) -> list[str]:
    """Gives the directories and files whose changes matter.

    Args:
        target: What is served; a file's directory is watched.
        extra: What else was asked for.
        here: The working directory, which is watched always.

    Example:
        >>> places_to_watch("app/echo.py:handle", ["conf.toml"], Path("/srv"))
        ['/srv', '/srv/conf.toml']
    """
    place = target.rpartition(":")[0]
    directories = [here]
    if place.endswith(".py") and not (here / place).is_relative_to(here):
        directories.append((here / place).parent)
    return list(dict.fromkeys(map(str, [*directories, *(here / one for one in extra)])))


class Watching:
    """The process that looks, as the supervisor sees it.

    Args:
        places: Which directories and files.
        supervisor: Who waits for us.
        changed: Called with the files that changed, as text.

    Raises:
        OSError: When there is no room for a process.
    """

    def __init__(
        self, places: Sequence[str], supervisor: Supervisor, changed: Callable[[str], None]
    ) -> None:
        self._supervisor = supervisor
        self._changed = changed
        self._received = b""
        self._process = subprocess.Popen(
            command(__name__), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(places).encode() + b"\n")
        self._lifeline, self._news = self._process.stdin, self._process.stdout
        supervisor.keep_private(self._lifeline.fileno())
        supervisor.watch(self._news.fileno(), self._read)

    def _read(self) -> None:
        chunk = os.read(self._news.fileno(), _READ_SIZE)
        *lines, self._received = (self._received + chunk).split(b"\n")
        for line in lines:
            told = json.loads(line)
            if problem := told.get("problem"):
                log.warning("changed files cannot be seen: %s", problem)
            else:
                self._changed(told["changed"])
        if not chunk:
            log.warning("changes of files are no longer looked for")
            self._supervisor.unwatch(self._news.fileno())

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()
        self._lifeline.close()
        self._news.close()


def main() -> None:
    """The whole life of the process that looks."""
    places = json.loads(_read_line())
    lifetime.lead_group()
    lifetime.die_with_holder(sys.stdin.fileno())
    set_title("watching files")
    try:
        _look(places)
    except Exception as error:  # no room for one more inotify watch, say
        _tell(problem=f"{type(error).__name__}: {error}")


def _look(places: list[str]) -> None:
    from watchfiles import PythonFilter, watch

    files = {place for place in places if not os.path.isdir(place)}
    python = PythonFilter()

    def matters(change: Any, path: str) -> bool:
        return path in files or python(change, path)

    for changes in watch(*places, watch_filter=matters, debounce=LONGEST, step=QUIET):
        paths = sorted({os.path.relpath(path) for _, path in changes})
        more = len(paths) - SHOWN
        _tell(changed=", ".join(paths[:SHOWN]) + (f" and {more} more" if more > 0 else ""))


def _read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(sys.stdin.fileno(), _READ_SIZE)
        if not chunk:
            sys.exit(0)
        line += chunk
    return line


def _tell(**facts: str) -> None:
    os.write(sys.stdout.fileno(), json.dumps(facts).encode() + b"\n")
