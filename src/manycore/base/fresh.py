"""A child in a fresh interpreter of its own: both sides of it."""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
from collections.abc import Sequence

from manycore.errors import BootError

from . import birth, lifetime, signals
from .birth import Birth, Role, read_number
from .channel import Channel, Message, close_all
from .child import ChildHandle
from .interpreter import command
from .lifetime import exit_in_words
from .surroundings import gather


def spawn(
    entry: str,
    payload: bytes,
    *,
    role: Role,
    fds: Sequence[int] = (),
    modules: tuple[str, ...] = (),
    tied: bool = True,
) -> ChildHandle:
    """Starts a child in a fresh interpreter; as `template.fork`, and many times slower.

    Raises:
        OSError: When there is no room for a process or its descriptors.
        BootError: When the interpreter ends before the child begins.
    """
    facts, borrowed, here = gather()
    ours, theirs = Channel.pair()
    lifeline_end, lifeline = os.pipe()
    temporary = [lifeline_end] if here is None else [lifeline_end, here]
    process = None
    try:
        with theirs:
            # a Ctrl-C waits until the interpreter is up, and we know of it
            with signals.blocked([signal.SIGINT]):
                process = _run(theirs.fileno())
            request = pickle.dumps(Birth(entry, modules, tied, role, facts, payload))
            # the channel's other end is not among them: a socket in its own queue, unread, would
            # keep what else is there open until the kernel looks for such cycles
            ours.send(request, [lifeline_end, *borrowed, *fds])
        message = _first_message(ours, process.pid)
    except BaseException as error:
        ours.close()
        os.close(lifeline)
        if process is not None:
            process.kill()
            process.wait()
        if isinstance(error, EOFError) and process is not None:
            problem = f"a fresh interpreter {exit_in_words(process.returncode)}"
            raise BootError(problem) from None
        raise
    finally:
        close_all(temporary)

    def reap() -> int | None:
        if tied:
            lifetime.end_group(process.pid)  # until the wait the id cannot be another's
        return process.wait()

    return ChildHandle(read_number(message.data), message.fds[0], ours, lifeline, reap)


def _first_message(channel: Channel, pid: int) -> Message:
    """Waits for what a newborn says, or for its end.

    Its end need not close the channel: a copy of this program that another thread forks at this
    moment holds the other end too.

    Raises:
        EOFError: When it ended without a word.
    """
    pidfd = os.pidfd_open(pid)
    try:
        poller = select.poll()
        poller.register(channel, select.POLLIN)
        poller.register(pidfd, select.POLLIN)
        poller.poll()
    finally:
        os.close(pidfd)
    try:
        return channel.receive(wait=False)
    except BlockingIOError:
        raise EOFError from None


def _run(fd: int) -> subprocess.Popen[bytes]:
    arguments = command("manycore.base.fresh", fd)
    arguments.insert(1, "-P")  # a file in the working directory must not pass for a module
    return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, pass_fds=(fd,))


def main(fd: int) -> None:
    """The whole of a process that was spawned."""
    code = 1
    try:
        channel = Channel.of_descriptor(fd)
        data, fds = channel.receive()
        request: Birth = pickle.loads(data)  # noqa: S301  # from the program that started us
        birth.import_for_all(request.modules)
        code = birth.live(request, [channel.detach(), *fds], leads=False)
    except (KeyboardInterrupt, BrokenPipeError, EOFError):
        pass  # the program tells of it, or is gone
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        birth.finish(code)
