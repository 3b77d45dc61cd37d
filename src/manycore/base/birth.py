"""The first and the last steps of a child's life, whichever way it was started.

Rules:

1. A child reports its own birth. A parent that reads the end of the channel instead knows that no
   child was born, and may try again.
2. Nothing of a child's life returns into the code of the process that it was forked from.
3. While a child or a template imports its user's modules no process may be started: a module that
   starts one at import would do so again in that one, and so on.
"""

from __future__ import annotations

import atexit
import importlib
import os
import signal
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple, NoReturn

from . import identity, lifetime
from .channel import Channel
from .surroundings import Surroundings, take_over
from .titles import set_title

# The first byte of a message on a child's channel says what it is.
STARTED: Final = b"s"  #: from the child: it exists; its pid, and its pidfd as a descriptor
REFUSED: Final = b"r"  #: from the template: it could not be forked; the errno
EXITED: Final = b"x"  #: from the template: it ended; the exit code
OUTCOME: Final = b"o"  #: from the child: what it was asked for; the rest is the room's own

_NUMBER: Final = struct.Struct("q")
HEAD_BYTES: Final = 1 + _NUMBER.size  #: of every message: its kind and a number

_importing = False
_tied = False


class Role(NamedTuple):
    """Who a child is, for people.

    Attributes:
        role: `process`, or what the room that starts it calls it.
        name: Its name.
        parent: The id of the process that asked for it.
        daemon: Whether it ends with that one.
    """

    role: str
    name: str
    parent: int
    daemon: bool


class Birth(NamedTuple):
    """What a child needs to begin.

    Its descriptors travel beside it: channel, lifeline, those of the surroundings, the payload's
    file if it has one, and those that are for the entry.

    Attributes:
        entry: What the child does: `module:function`, called with the payload, the channel, the
            lifeline and the rest of the descriptors. It returns the exit code.
        modules: What the template imports once, before it forks.
        tied: Whether the child is killed when the lifeline's other end is closed.
        role: Who it is.
        surroundings: Where the child stands.
        payload: Bytes for the entry; None: in a file.
    """

    entry: str
    modules: tuple[str, ...]
    tied: bool
    role: Role
    surroundings: Surroundings
    payload: bytes | None


def number_message(kind: bytes, number: int) -> bytes:
    """Writes a message that is a number: a pid, an errno, an exit code.

    Example:
        >>> read_number(number_message(EXITED, -9))
        -9
    """
    return kind + _NUMBER.pack(number)


def read_number(message: bytes) -> int:
    """Reads what `number_message` wrote."""
    number: int = _NUMBER.unpack_from(message, 1)[0]
    return number


def is_importing() -> bool:
    """Whether this process is importing its user's modules before its work has begun."""
    return _importing


@contextmanager
def importing() -> Iterator[None]:
    """Marks a block in which no process may be started."""
    global _importing  # noqa: PLW0603  # it is a fact of the process
    _importing = True
    try:
        yield
    finally:
        _importing = False


def import_for_all(modules: tuple[str, ...]) -> None:
    """Imports modules that children will need; what fails here fails there, and is told there."""
    for name in modules:
        if name not in sys.modules:
            with suppress(Exception):
                importlib.import_module(name)


def live(birth: Birth, fds: list[int], *, leads: bool = True) -> int:
    """A child's whole life. Its caller ends the process with what this returns, and nothing else.

    Args:
        birth: What to do.
        fds: The descriptors, as `Birth` orders them.
        leads: Whether it leads a group of its own even when it is not tied. Then somebody must
            hand on what the terminal sends to the program's group.

    Returns:
        The exit code.
    """
    channel, lifeline = Channel.of_descriptor(fds[0]), fds[1]
    count = len(birth.surroundings.handed)
    borrowed, rest = fds[2 : 2 + count], fds[2 + count :]
    be_tied(lifeline, tied=birth.tied, leads=leads)
    be_known(birth.role)
    report_birth(channel)
    # before the environment changes: its memory is what titles are written to
    set_title(f"{birth.role.role} {birth.role.name}")
    take_over(birth.surroundings, borrowed)
    payload = birth.payload if birth.payload is not None else _read_file(rest.pop(0))
    module, _, function = birth.entry.partition(":")
    signal.pthread_sigmask(signal.SIG_SETMASK, birth.surroundings.mask)
    entry = getattr(importlib.import_module(module), function)
    code: int = entry(payload, channel, lifeline, rest)
    return code


def _read_file(fd: int) -> bytes:
    with open(fd, "rb") as file:
        return file.read()


def be_tied(lifeline: int, *, tied: bool, leads: bool) -> None:
    """Makes this process lead a group and, if it is tied, end with whoever holds the lifeline."""
    global _tied  # noqa: PLW0603  # it is a fact of the process
    _tied = tied
    if leads or tied:
        lifetime.lead_group()
    if tied:
        lifetime.die_with_holder(lifeline)


def is_tied() -> bool:
    """Whether this process ends with its parent; then what it starts must end with it."""
    return _tied


def be_known(role: Role) -> None:
    """Says who this process is, to whoever looks."""
    identity.announce(role.role, role.name, parent=role.parent, daemon=role.daemon)


def report_birth(channel: Channel) -> None:
    """Says that this process exists; whoever asked for it may be gone, and then it ends."""
    pidfd = os.pidfd_open(os.getpid())
    channel.send(number_message(STARTED, os.getpid()), [pidfd])
    os.close(pidfd)


def forget_parents_exit_handlers() -> None:
    """What the forking process registered with `atexit` is that process's to do."""
    atexit._clear()  # noqa: SLF001


def finish(code: int) -> NoReturn:
    """Ends the process as an interpreter would, after the exit handlers registered in it."""
    with suppress(BaseException):  # the exit code says enough
        atexit._run_exitfuncs()  # noqa: SLF001
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):  # a full disk, a closed pipe
            stream.flush()
    os._exit(code)
