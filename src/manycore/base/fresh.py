"""A child in a fresh interpreter of its own: both sides of it."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Sequence

from manycore.errors import BootError

from . import birth, lifetime, signals
from .birth import Birth, Role, read_number
from .channel import Channel, close_all
from .child import ChildHandle
from .interpreter import Interpreter
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
    interpreter = None
    try:
        with theirs:
            # a Ctrl-C waits until the interpreter is up, and we know of it
            with signals.blocked([signal.SIGINT]):
                interpreter = Interpreter("manycore.base.fresh", theirs.fileno())
            request = pickle.dumps(Birth(entry, modules, tied, role, facts, payload))
            # the channel's other end is not among them: a socket in its own queue, unread, would
            # keep what else is there open until the kernel looks for such cycles
            ours.send(request, [lifeline_end, *borrowed, *fds])
        message = interpreter.first_message(ours)
    except BaseException as error:
        ours.close()
        os.close(lifeline)
        if interpreter is not None:
            interpreter.kill()
            if isinstance(error, EOFError):
                problem = f"a fresh interpreter {exit_in_words(interpreter.wait() or 0)}"
                raise BootError(problem) from None
        raise
    finally:
        close_all(temporary)

    def reap() -> int | None:
        if tied:
            lifetime.end_group(interpreter.pid)  # until the wait the id cannot be another's
        return interpreter.wait()

    return ChildHandle(read_number(message.data), message.fds[0], ours, lifeline, reap)


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
