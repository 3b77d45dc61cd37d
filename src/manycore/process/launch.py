"""How a process starts: from the template, by a fork of this one, or in a fresh interpreter.

`Popen` has the shape that `multiprocessing.process.BaseProcess` expects of one.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
import traceback
import warnings
from contextlib import suppress
from functools import partial
from multiprocessing import process as standard
from multiprocessing import util
from typing import TYPE_CHECKING, Final, NoReturn

from manycore.base import birth, family, fresh, lifetime, oom, passing, signals, template
from manycore.base.birth import Role
from manycore.base.channel import Channel
from manycore.base.child import ChildHandle
from manycore.base.conditions import poll
from manycore.base.finalizers import when_gone
from manycore.base.titles import set_title

from .payload import pack

if TYPE_CHECKING:
    from .process import Process

GRACE_AT_EXIT: Final = 5.0  # seconds for daemon processes that handle SIGTERM; then they are killed

_LIFE: Final = "manycore.process.life"
#: what every child needs, imported in the template once
_MODULES: Final = (_LIFE, "manycore.process.process")


class Popen:
    """A started process, for `multiprocessing` and for `Process`.

    Attributes:
        child: The process.
        oom_kills: What the out-of-memory killer had done when it was started.
    """

    def __init__(self, child: ChildHandle, oom_kills: int | None) -> None:
        self.child = child
        self.oom_kills = oom_kills
        self.pid = child.pid
        self.sentinel = child.pidfd
        self._finalizer = when_gone(self, child.close)

    @property
    def returncode(self) -> int | None:
        """How it ended, as far as that was looked at."""
        return self.child.exitcode

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Looks whether it has ended; waits for that with another flag than WNOHANG."""
        return self.child.wait(0 if flag == os.WNOHANG else None)

    def wait(self, timeout: float | None = None) -> int | None:
        """Waits until it has ended; gives the exit code, or None after `timeout` seconds."""
        return self.child.wait(timeout)

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self.child.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self.child.send_signal(signal.SIGKILL)

    def interrupt(self) -> None:
        """Sends SIGINT."""
        self.child.send_signal(signal.SIGINT)

    def end_tree(self, grace: float) -> None:
        """Ends it and all that it started: SIGTERM to it, then SIGKILL to what is left."""
        itself = family.look_at(self.pid) if self.poll() is None else None
        # those that leave its group can be found only as long as their parents live
        known = {itself, *family.members(family.everybody(), [itself])} if itself else set()
        self.terminate()
        self.wait(grace)
        if itself is not None:
            family.end(known)
        self.wait()

    def close(self) -> None:
        """Lets go of its descriptors."""
        self._finalizer()


def start(process: Process, method: str) -> Popen:
    """Starts a process; raises what `Process.start` documents."""
    util._flush_std_streams()  # type: ignore[attr-defined]  # noqa: SLF001
    _prepare_exit()
    kills = oom.kills()
    tied = process.daemon or birth.is_tied()
    role = Role("process", process.name, os.getpid(), process.daemon)
    if method == "fork":
        return Popen(_fork(process, role, tied=tied), kills)
    payload, fds = pack(process)
    starter = fresh.spawn if method == "spawn" else template.fork
    modules = (*_MODULES, "cloudpickle") if passing.needs_cloudpickle(payload) else _MODULES
    child = starter(f"{_LIFE}:live", payload, role=role, fds=fds, modules=modules, tied=tied)
    return Popen(child, kills)


_GO: Final = b"go"  # what a forked child waits for
_PARENTS_TURN: Final = 5.0  # seconds: a parent that was killed may have left its end to a copy
_prepared_in = 0  # the process whose exit is prepared


def _prepare_exit() -> None:
    """Sees to it that daemon processes are gone when multiprocessing joins what is left."""
    global _prepared_in  # noqa: PLW0603  # it is a fact of the process
    if _prepared_in != os.getpid():
        _prepared_in = os.getpid()
        util.Finalize(None, _end_daemons, exitpriority=0)


def _end_daemons() -> None:
    """At this process's exit: daemon processes get SIGTERM, a moment, and SIGKILL."""
    popens = [getattr(p, "_popen", None) for p in standard.active_children() if p.daemon]
    daemons = [popen for popen in popens if isinstance(popen, Popen)]
    for popen in daemons:
        popen.terminate()
    deadline = time.monotonic() + GRACE_AT_EXIT
    for popen in daemons:
        popen.end_tree(max(0.0, deadline - time.monotonic()))


def _forget_children() -> None:
    """In a forked copy of the program, whose children they are not: it need not join them."""
    children = standard._children  # type: ignore[attr-defined]  # noqa: SLF001
    for process in list(children):
        if isinstance(getattr(process, "_popen", None), Popen):
            children.discard(process)


os.register_at_fork(after_in_child=_forget_children)


def _fork(process: Process, role: Role, *, tied: bool) -> ChildHandle:
    from . import life  # noqa: F401  # before the fork, so that no child imports it again

    others = [t.name for t in threading.enumerate() if t is not threading.current_thread()]
    if others:
        warnings.warn(
            f"this process is forked with live threads ({', '.join(others)}): locks that they hold "
            "stay locked in the child for ever; the template, which is the default, has no threads",
            RuntimeWarning,
            stacklevel=4,
        )
    # a Ctrl-C waits until the child can take it without a traceback, and we know of the child
    with signals.blocked([signal.SIGINT]) as mask:
        ours, theirs = Channel.pair()
        lifeline_end, lifeline = os.pipe()
        pid = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of threads, without names
                pid = os.fork()
            if pid == 0:
                ours.close()
                os.close(lifeline)
                _become(process, role, theirs, lifeline_end, mask=mask, tied=tied)
            pidfd = os.pidfd_open(pid)
        except OSError:  # no room for a process, or for its descriptor
            ours.close()
            os.close(lifeline)
            if pid:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            raise
        finally:
            theirs.close()
            os.close(lifeline_end)
        if signal.SIGINT in signal.sigpending():  # it may have come before there was a child
            os.kill(pid, signal.SIGINT)
        with suppress(BrokenPipeError):  # the child is gone already
            ours.send(_GO)
        return ChildHandle(pid, pidfd, ours, lifeline, partial(_reap, pid, tied=tied))


def _become(
    process: Process,
    role: Role,
    channel: Channel,
    lifeline: int,
    *,
    mask: set[signal.Signals | int],
    tied: bool,
) -> NoReturn:
    """The forked child, from its first step to its exit."""
    from . import life

    code = 1
    try:
        birth.forget_parents_exit_handlers()
        birth.be_known(role)
        set_title(f"process {role.name}")
        birth.be_tied(lifeline, tied=tied, leads=False)
        _await_parent(channel)
        code = life.run(process, channel, lifeline, forked=True, mask=mask)
    except KeyboardInterrupt:
        pass  # the program tells of it
    except BaseException:
        traceback.print_exc()
    finally:
        birth.finish(code)


def _await_parent(channel: Channel) -> None:
    """Waits until the parent has seen to a Ctrl-C: the terminal's and the parent's are one then."""
    poller = select.poll()
    poller.register(channel, select.POLLIN)
    if poll(poller, _PARENTS_TURN):
        with suppress(EOFError):  # it is gone
            channel.receive()


def _reap(pid: int, *, tied: bool) -> int | None:
    if tied:
        lifetime.end_group(pid)  # before the wait: until then the id cannot be another's
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:  # the program waited for all its children itself
        return None
