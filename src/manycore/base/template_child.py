"""The template's own life: it waits for requests, forks, reaps, and says who ended how.

Rules:

1. One thread, one wait, no wake-up for nothing. It never reads what children work on.
2. It reaps by pid: what preloaded modules may have started is theirs to wait for.
3. It ends with the program that started it, and takes the children that are tied to that along.
4. It stays in the program's process group, which its children leave: what the terminal sends to
   the group (Ctrl-C, Ctrl-Z, hang-up) it hands on to them.
"""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import select
import signal
import sys
import threading
import warnings
from contextlib import suppress
from typing import Final, NamedTuple, NoReturn

from . import birth, identity, lifetime, signals
from .birth import EXITED, REFUSED, Birth, number_message
from .channel import Channel, close_all
from .failures import Failure
from .titles import set_title

_HANDED_ON: Final = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTERM,
    signal.SIGTSTP,
    signal.SIGCONT,
)


class Child(NamedTuple):
    """What the template keeps of a child."""

    channel: Channel
    tied: bool


class Template:
    """A template, in its own process.

    Args:
        requests: Where requests come from; its end says that no more will come.
        program: The pidfd of the program.
        title: What it is called, from its first child on: until then it has no time for that.
    """

    def __init__(self, requests: Channel, program: int, title: str) -> None:
        self._title = title
        self._requests = requests
        self._program = program
        self._children: dict[int, Child] = {}
        # what the program ignores, as under nohup, its children ignore
        self._captured = [s for s in _HANDED_ON if signal.getsignal(s) is not signal.SIG_IGN]

    def run(self) -> None:
        """Lives until the program has ended, or needs no more children."""
        with signals.captured(signal.SIGCHLD, *self._captured) as self._inbox:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            poller = select.poll()
            for source in (self._requests, self._inbox, self._program):
                poller.register(source, select.POLLIN)
            while True:
                ready = {fd for fd, _ in poller.poll()}
                if self._inbox.fileno() in ready:
                    self._take_signals()
                if self._program in ready:
                    self._end_children()
                    return
                if self._requests.fileno() in ready and not self._serve():
                    poller.unregister(self._requests)
                    self._requests.close()
                if self._requests.fileno() < 0 and not self._children:
                    return

    def _serve(self) -> bool:
        """Does what one request asks for; False when there will be no more."""
        try:
            data, fds = self._requests.receive()
        except EOFError:
            return False
        except OSError:  # no room for its descriptors: its channel is closed, which says so
            return True
        request = pickle.loads(data)  # noqa: S301  # from the program that started us
        if isinstance(request, Birth):
            self._fork(request, fds)
        else:
            modules, path = request
            _preload(modules, path, fds)
        return True

    def _fork(self, request: Birth, fds: list[int]) -> None:
        birth.import_for_all(request.modules)
        gc.freeze()  # a collection in the child would copy every page of ours
        try:
            with signals.blocked([signal.SIGCHLD, *self._captured]), warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # preloading warned of threads
                pid = os.fork()
                if pid == 0:
                    self._become(request, fds)
        except OSError as error:
            with Channel.of_descriptor(fds[0]) as channel, suppress(OSError):
                channel.send(number_message(REFUSED, error.errno or 0), wait=False)
            close_all(fds[1:])
            return
        with suppress(OSError):  # the child does the same: whoever is first
            os.setpgid(pid, pid)
        self._children[pid] = Child(Channel.of_descriptor(fds[0]), request.tied)
        close_all(fds[1:])
        if self._title:
            set_title(self._title)
            self._title = ""

    def _become(self, request: Birth, fds: list[int]) -> NoReturn:
        """The child, from fork to exit. Nothing of it may reach the template's code."""
        code = 1
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the program may ignore it
            self._requests.close()
            os.close(self._program)
            for child in self._children.values():
                child.channel.close()
            birth.forget_parents_exit_handlers()
            code = birth.live(request, fds)
        except KeyboardInterrupt:
            pass  # the program tells it
        except BrokenPipeError:
            pass  # whoever asked for this child is gone
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            birth.finish(code)

    def _take_signals(self) -> None:
        for signum in self._inbox.take():
            if signum is signal.SIGCHLD:
                continue
            for pid in self._children:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signum)
            if signum is signal.SIGTSTP:
                os.kill(os.getpid(), signal.SIGSTOP)
        for pid in list(self._children):
            self._reap(pid)

    def _reap(self, pid: int) -> None:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
        child = self._children.pop(pid)
        if child.tied:
            lifetime.end_group(pid)  # before the wait: until then the id cannot be another's
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with child.channel as channel, suppress(OSError):
            channel.send(number_message(EXITED, code), wait=False)

    def _end_children(self) -> None:
        """The program has ended. The kernel kills who is tied to it; this makes twice sure."""
        for pid, child in self._children.items():
            if child.tied:
                lifetime.end_group(pid)


def _preload(modules: tuple[str, ...], path: list[str], fds: list[int]) -> None:
    failure = None
    with Channel.of_descriptor(fds[0]) as answer:
        sys.path[:] = path
        try:
            with birth.importing():
                for name in modules:
                    importlib.import_module(name)
        except BaseException as error:
            failure = Failure.of(error, hidden=1)
        threads = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
        with suppress(OSError):
            answer.send(pickle.dumps((failure, threads)))


def main(requests: int, parent: int) -> None:
    """The whole of a process that is a template.

    Args:
        requests: The descriptor that requests come from.
        parent: The program's process id.
    """
    os.set_inheritable(requests, False)
    program = os.pidfd_open(parent)
    if os.getppid() != parent:  # it ended before we looked
        sys.exit()
    identity.announce("template", f"of {parent}", parent=parent)
    Template(Channel.of_descriptor(requests), program, f"template of {parent}").run()
