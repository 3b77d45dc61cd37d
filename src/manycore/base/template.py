"""The clean single-threaded process that children are forked from: the program's side of it.

A program has one template, started when the first child is asked for, in a fresh interpreter that
never runs the program's `__main__`. It lives until the program ends, however that ends.

Guarantees:

* `fork` may be called from any thread, and from several at once: a request is one message, and its
  answer comes through a channel of its own.
* A template that died is replaced; a child is born once or not at all.
* A copy of the program (`os.fork`) never uses the program's template: it gets its own on demand.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import warnings
import weakref
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import util

from manycore.errors import BootError

from . import signals
from .birth import REFUSED, Birth, Role, read_number
from .channel import INLINE_BYTES, Channel, Message, close_all
from .child import ChildHandle
from .failures import Failure
from .interpreter import Interpreter
from .lifetime import exit_in_words
from .segments import anonymous_file
from .surroundings import gather

STOP_PATIENCE = 2.0  # seconds: a template whose last child has ended needs some milliseconds
_ATTEMPTS = 5  # a template may die before it reads a request; one that never lives is an error

#: a Ctrl-C must not meet the template before it knows what to do with it
_UNWELCOME = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGTSTP)


class TemplateHandle:
    """The program's view of its template.

    Args:
        modules: What it imports before it forks the first child.
    """

    def __init__(self, modules: tuple[str, ...] = ()) -> None:
        ours, theirs = Channel.pair()
        with theirs:
            try:
                with signals.blocked(_UNWELCOME):
                    # silent: children get the program's own standard output
                    self._interpreter = Interpreter(
                        "manycore.base.template_child", theirs.fileno(), os.getpid(), silent=True
                    )
            except BaseException:
                ours.close()
                raise
        self._requests = ours
        weakref.finalize(self, ours.close).atexit = False
        self.pid = self._interpreter.pid
        if modules:
            self._preload_first(modules)

    def _preload_first(self, modules: tuple[str, ...]) -> None:
        try:
            self.preload(modules)
        except (EOFError, BrokenPipeError):
            problem = f"the template process {self.how_it_ended()}"
            self.stop()
            raise BootError(problem) from None
        except BaseException:
            self.stop()
            raise

    def request(self, what: object, fds: Sequence[int]) -> None:
        """Sends a request, with descriptors.

        Raises:
            BrokenPipeError: When the template is dead.
        """
        self._requests.send(pickle.dumps(what, pickle.HIGHEST_PROTOCOL), fds)

    def answer(self, channel: Channel) -> Message:
        """Waits for the answer to a request.

        Raises:
            EOFError: When the template died before it gave one.
        """
        return self._interpreter.first_message(channel)

    def preload(self, modules: tuple[str, ...]) -> None:
        """Imports modules in the template; raises what the import raised."""
        with self._ask_to_import(modules) as ours:
            answer = self.answer(ours)
            failure, threads = pickle.loads(answer.data)  # noqa: S301  # our template's
        if isinstance(failure, Failure):
            raise failure.rebuild()
        if threads:
            warnings.warn(
                f"preloading left threads running in the template ({', '.join(threads)}): "
                "they do not exist in the processes that are forked from it",
                RuntimeWarning,
                stacklevel=3,
            )

    def prepare(self, modules: tuple[str, ...]) -> None:
        """Has the template import modules, without waiting for that."""
        self._ask_to_import(modules).close()

    def _ask_to_import(self, modules: tuple[str, ...]) -> Channel:
        path = [os.path.abspath(entry) for entry in sys.path]  # its directory may not be ours
        ours, theirs = Channel.pair()
        try:
            with theirs:
                self.request((modules, path), [theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        return ours

    def how_it_ended(self) -> str:
        """Says in words how the template ended."""
        code = self._interpreter.wait(STOP_PATIENCE)
        return "does not answer" if code is None else exit_in_words(code)

    def stop(self) -> None:
        """Ends the template as soon as its last child has ended, or kills it."""
        self._requests.end()
        if self._interpreter.wait(STOP_PATIENCE) is None:
            self._interpreter.kill()

    def abandon(self) -> None:
        """To be called in a forked copy of the program, whose child the template is not."""
        self._requests.close()
        self._interpreter.forget()


_lock = threading.Lock()
_current: TemplateHandle | None = None
_modules: tuple[str, ...] = ()


def start_early(*modules: str) -> None:
    """Begins to start the template, if there is none, and has it import modules meanwhile.

    Whatever goes wrong is told to whom the first child is refused.
    """
    if _current is None:
        with suppress(Exception):
            current().prepare(modules)


def current() -> TemplateHandle:
    """Gives the program's template, started now if there is none."""
    global _current  # noqa: PLW0603  # there is one a program
    with _lock:
        if _current is None:
            _current = TemplateHandle(_modules)
            # after multiprocessing has joined the last child, which it does at priority 0
            util.Finalize(None, stop, exitpriority=-100)
        return _current


def preload(*modules: str) -> None:
    """Imports modules once, in the template: every process that is forked from it has them.

    The template starts now, if it has not yet. One that has to be replaced later imports them too.

    Args:
        *modules: Names of modules, as for `import`.

    Raises:
        ImportError: When there is no such module; or whatever else importing it raises, with the
            traceback of the template as its cause.

    Example:
        >>> preload("json", "decimal")
    """
    global _modules  # noqa: PLW0603  # what every template of this program imports
    current().preload(modules)
    with _lock:
        _modules = (*_modules, *(name for name in modules if name not in _modules))


def stop() -> None:
    """Ends the template; the next child gets a new one. For tests, and at the program's end."""
    lost = _forget(_current)
    if lost is not None:
        lost.stop()


def _forget(template: TemplateHandle | None) -> TemplateHandle | None:
    """Lets the next child have a new template, unless somebody saw to that already."""
    global _current  # noqa: PLW0603  # there is one a program
    with _lock:
        if template is None or _current is not template:
            return None
        _current = None
    return template


def fork(
    entry: str,
    payload: bytes,
    *,
    role: Role,
    fds: Sequence[int] = (),
    modules: tuple[str, ...] = (),
    tied: bool = True,
) -> ChildHandle:
    """Starts a child of the template; returns when it exists.

    Args:
        entry: What it does: `module:function`, called with the payload, its channel, its lifeline
            and the descriptors. It returns the exit code.
        payload: Bytes of any number.
        role: Who it is, for people.
        fds: Descriptors to hand on; they stay open here.
        modules: What the template imports once, before it forks.
        tied: Whether the child and what it started is killed when this process ends.

    Raises:
        OSError: When there is no room for a process or its descriptors.
        BootError: When no template lives long enough.
    """
    ended = ""
    for _ in range(_ATTEMPTS):
        template = current()
        try:
            child = _fork_from(template, entry, payload, fds, modules, role, tied=tied)
        except BrokenPipeError:
            child = None
        if child is not None:
            return child
        ended = template.how_it_ended()
        if _forget(template) is not None:
            template.stop()
    raise BootError(f"the template process {ended}")


def _fork_from(
    template: TemplateHandle,
    entry: str,
    payload: bytes,
    fds: Sequence[int],
    modules: tuple[str, ...],
    role: Role,
    *,
    tied: bool,
) -> ChildHandle | None:
    """Asks one template for a child; None when it died before the child was born."""
    facts, borrowed, here = gather()
    ours, theirs = Channel.pair()
    lifeline_end, lifeline = os.pipe()
    temporary = [lifeline_end] if here is None else [lifeline_end, here]
    try:
        order = [theirs.fileno(), lifeline_end, *borrowed]
        inline: bytes | None = payload
        if len(payload) > INLINE_BYTES // 2:  # the rest is for the environment
            inline = None
            file = anonymous_file("payload", payload)
            temporary.append(file)
            order.append(file)
        template.request(Birth(entry, modules, tied, role, facts, inline), [*order, *fds])
        theirs.close()  # now the template's death is the end of the channel
        close_all(temporary)
        temporary.clear()
        message = template.answer(ours)
    except EOFError:
        message = None
    except BaseException:
        _call_off(ours)
        os.close(lifeline)
        raise
    finally:
        theirs.close()
        close_all(temporary)
    if message is not None and message.data[:1] != REFUSED:
        return ChildHandle(read_number(message.data), message.fds[0], ours, lifeline)
    ours.close()
    os.close(lifeline)
    if message is not None:
        number = read_number(message.data)
        raise OSError(number, os.strerror(number))
    return None


def _call_off(channel: Channel) -> None:
    """Makes sure that a child which nobody will know of is not born, or ends."""
    channel.refuse()
    with suppress(EOFError, OSError):
        while True:
            newborn: Message = channel.receive(wait=False)
            for pidfd in newborn.fds:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            close_all(newborn.fds)
    channel.close()


def _abandon() -> None:
    """In a forked copy of the program."""
    global _current, _lock  # noqa: PLW0603  # a thread that is not here may have held it
    _lock = threading.Lock()
    if _current is not None:
        _current.abandon()
        _current = None


os.register_at_fork(after_in_child=_abandon)
