"""Who ends with whom, and how an end is told.

Guarantees, on Linux: a process that called `die_with_parent` is killed by the kernel when its
parent ends, however that ends and whatever the process is doing, and so is every process of its
group: what it started, and what those started. Nothing is polled and no process watches.

Two kernel means, either of which is enough for the process itself:

* PR_SET_PDEATHSIG. It fires when the *thread* that forked ends: fork from one that lives on.
* The lifeline: a pipe that only the parent can write to, and never does. Its read end is set to
  send SIGKILL to the child's process group (O_ASYNC, F_SETOWN with a negative id, F_SETSIG; man 2
  fcntl) when the last writer is gone.

Elsewhere a thread of the process itself reads the lifeline, and kills the group at its end. A
process that never lets go of the interpreter's lock lives until it does.

A program that starts a session of its own (setsid) leaves the group, and is left alone.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import threading
from contextlib import suppress

from . import kernel

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_DUMPABLE = 4

_libc = ctypes.CDLL(None, use_errno=True) if kernel.ENDS_ORPHANS else None


def die_with_parent(parent: int, lifeline: int) -> None:
    """Ties this process, and the group it leads from now on, to its parent's life.

    To be called first thing in a forked child.

    Args:
        parent: The parent's process id, as the parent knows it.
        lifeline: The read end of a pipe whose only write end the parent holds. It stays open.
    """
    lead_group()
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    die_with_holder(lifeline)
    if os.getppid() != parent:  # it ended before all that was in place
        os.kill(os.getpid(), signal.SIGKILL)


def keep_to_parent() -> None:
    """Renews what a change of user undoes (man 2 prctl); the lifeline holds meanwhile.

    The process may also be looked at by itself again, and leave a core dump: as any of its user.
    """
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def lead_group() -> None:
    """Makes this process the leader of a group, so that ending the group ends what it started."""
    with suppress(PermissionError):  # a session leader leads its group already
        os.setpgid(0, 0)


def die_with_holder(lifeline: int) -> None:
    """Ties the group that this process leads to whoever holds the other end of a lifeline.

    The holder need not be the parent: a template forks children for the program that asked it to.

    Args:
        lifeline: The read end of a pipe whose only write end the holder has. It stays open.
    """
    if _libc is not None:
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
    else:
        watching = threading.Thread(target=_watch, args=(lifeline,), name="lifeline", daemon=True)
        watching.start()
    if _hung_up(lifeline):  # the holder ended before that was in place
        os.kill(os.getpid(), signal.SIGKILL)


def _watch(lifeline: int) -> None:
    with suppress(OSError):
        os.read(lifeline, 1)  # nobody ever writes
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _hung_up(lifeline: int) -> bool:
    poller = select.poll()
    poller.register(lifeline, select.POLLIN)
    return bool(poller.poll(0))


def end_group(leader: int) -> None:
    """Kills what is left of a group whose leader was not reaped yet: until then the id is its."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def exit_in_words(code: int) -> str:
    """Says how a process ended.

    Args:
        code: As `os.waitstatus_to_exitcode` gives it: negative for a signal.

    Example:
        >>> exit_in_words(-9), exit_in_words(3)
        ('was killed by SIGKILL', 'exited 3')
    """
    if code >= 0:
        return f"exited {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"was killed by signal {-code}"
