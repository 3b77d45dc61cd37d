"""What a new process takes over from the one that asked for it.

The asking process's working directory, environment, standard output and error, signal mask, CPUs,
module search path and command line, each as it is at that moment.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import Final, NamedTuple

_STREAMS: Final = (1, 2)
_HERE: Final = os.O_CLOEXEC | os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)


class Surroundings(NamedTuple):
    """Facts that travel as bytes. The descriptors beside them travel in the order of `handed`.

    Attributes:
        environment: The environment's variables.
        path: `sys.path`.
        arguments: `sys.argv`.
        mask: Blocked signals, of the asking thread.
        cpus: The CPUs that the asking thread may run on.
        handed: What the descriptors are: 1 and 2 the standard streams, -1 the working directory.
    """

    environment: dict[bytes, bytes]
    path: list[str]
    arguments: list[str]
    mask: list[int]
    cpus: list[int]
    handed: list[int]


def gather() -> tuple[Surroundings, list[int], int | None]:
    """Collects what a child is to take over.

    Returns:
        The facts, the descriptors that go with them, and that one of them which is the caller's to
        close.
    """
    handed = [fd for fd in _STREAMS if _is_open(fd)]
    fds = list(handed)
    here = None
    with suppress(OSError):
        here = os.open(".", _HERE)  # a descriptor: the directory may have lost its name
        handed.append(-1)
        fds.append(here)
    facts = Surroundings(
        environment=dict(os.environb),
        path=list(sys.path),
        arguments=list(getattr(sys, "argv", [])),
        mask=[int(signum) for signum in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
        cpus=sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [],
        handed=handed,
    )
    return facts, fds, here


def take_over(facts: Surroundings, fds: list[int]) -> None:
    """Makes this process stand where the asking one stood; all but the signal mask.

    Args:
        facts: From `gather`.
        fds: The descriptors that came with them; they are closed.
    """
    for target, fd in zip(facts.handed, fds, strict=True):
        if target < 0:
            with suppress(OSError):  # no right to enter it: then we stay where the template is
                os.fchdir(fd)
        else:
            os.dup2(fd, target)
        os.close(fd)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            # the interpreter decided it for the streams that the template had
            with suppress(OSError, ValueError, AttributeError):
                stream.reconfigure(line_buffering=stream is sys.stderr or stream.isatty())  # type: ignore[union-attr]
    if facts.environment != dict(os.environb):
        for name in os.environb.keys() - facts.environment.keys():
            del os.environb[name]
        os.environb.update(facts.environment)
    if facts.cpus and facts.cpus != sorted(os.sched_getaffinity(0)):
        with suppress(OSError):
            os.sched_setaffinity(0, facts.cpus)
    sys.path[:] = facts.path
    sys.argv[:] = facts.arguments


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
