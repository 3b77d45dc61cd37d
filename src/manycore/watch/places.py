"""Where control sockets are, and how one is found by its server's name."""

from __future__ import annotations

import os
import re
import socket
import stat
from pathlib import Path

from manycore.errors import ControlError

_SUFFIX = ".sock"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def directory() -> Path:
    """Gives this user's directory of control sockets, and makes it if need be.

    Raises:
        ControlError: When it is another user's, or others can write to it.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and os.path.isdir(runtime):
        path = Path(runtime) / "manycore"
    else:
        path = Path("/tmp") / f"manycore-{os.getuid()}"  # noqa: S108  # checked below
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
        raise ControlError(str(path), problem, "choose a place with --control-socket") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise ControlError(
            str(path), "it is not this user's alone", "choose a place with --control-socket"
        )
    return path


def path_of(name: str) -> str:
    """Gives the control socket of a server with this name.

    Raises:
        ControlError: When that is no name.
    """
    if not _NAME.fullmatch(name):
        raise ControlError(repr(name), "it is no name", "use letters, digits, '.', '-' and '_'")
    return str(directory() / f"{name}{_SUFFIX}")


def find(name: str | None, path: str | None) -> str:
    """Finds a running server's control socket.

    Args:
        name: The server's name; None: the only server that runs.
        path: The socket's path, which needs no finding.

    Raises:
        ControlError: When there is none, or more than one to choose from.
    """
    if path is not None:
        return path
    if name is not None:
        return path_of(name)
    names = running()
    if len(names) == 1:
        return path_of(names[0])
    if not names:
        problem = "no server of this user runs with a control socket there"
        raise ControlError(str(directory()), problem, "start one, or give its --control-socket")
    problem = f"several servers run: {', '.join(names)}"
    raise ControlError(str(directory()), problem, "choose one with --name")


def running() -> list[str]:
    """Names this user's servers, and removes what dead ones left."""
    names = []
    for path in sorted(directory().glob(f"*{_SUFFIX}")):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(path))
            except BlockingIOError:  # its queue is full: it runs
                pass
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
                continue
            except OSError:
                continue
        names.append(path.name.removesuffix(_SUFFIX))
    return names
