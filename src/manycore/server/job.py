"""What a supervisor is to do, whoever starts it: the command, `serve` or `Server`."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from manycore.base import codec, targets
from manycore.base.segments import anonymous_file, read_all
from manycore.base.sockets import ListenerFacts
from manycore.errors import TargetError
from manycore.settings import ServeSettings

from .handlers import describe
from .upgrade import Handover


@dataclass(frozen=True, slots=True)
class Job:
    """A server, before it runs.

    Attributes:
        name: What is served, for people.
        load: Gives the target; called in each worker.
        settings: How it is served.
    """

    name: str
    load: Callable[[], Any]
    settings: ServeSettings

    @classmethod
    def of_text(cls, target: str, settings: ServeSettings) -> Job:
        """For a target that is named, as on the command line."""
        return cls(target, partial(targets.load, target), settings)

    @classmethod
    def of_object(cls, target: Any, settings: ServeSettings) -> Job:
        """For a target at hand, in processes that are forked from this one."""
        return cls(describe(target), partial(_same, target), settings)

    @classmethod
    def of_copy(cls, target: Any, settings: ServeSettings) -> Job:
        """For a target at hand, in processes that start fresh.

        Raises:
            TargetError: When it cannot be sent there.
        """
        name = describe(target)
        try:
            data = codec.dumps(target)
        except TypeError as error:
            remedy = "make it a function that can be imported, and what it uses with it"
            raise TargetError(name, f"it cannot be sent to a process: {error}", remedy) from error
        return cls(name, partial(_copied, name, data), settings)


def _same(target: Any) -> Any:
    return target


def _copied(name: str, data: bytes) -> Any:
    try:
        return codec.loads(data)
    except Exception as error:
        problem = f"it cannot be rebuilt in a worker ({type(error).__name__}: {error})"
        raise TargetError(name, problem, "make its modules importable there") from error


@dataclass(frozen=True, slots=True)
class Parcel:
    """A job with the descriptors that it needs, for a supervisor in a fresh interpreter.

    Attributes:
        job: What to do.
        listeners: Where to listen.
        board: The board's descriptor.
        owner: Closed by the kernel when whoever started the supervisor is gone; None: nobody cares.
        report: Where to say that all is ready, or why not; None: on standard error.
        command: What starts such a server again, for an upgrade; None: nobody knows.
        handover: What another server, whose place this one takes, has given it.
        path: Where modules are found.
    """

    job: Job
    listeners: list[ListenerFacts]
    board: int
    owner: int | None = None
    report: int | None = None
    command: list[str] | None = None
    handover: Handover | None = None
    path: list[str] = field(default_factory=lambda: list(sys.path))

    def with_pipes(self, *, owner: int, report: int) -> Parcel:
        """Adds what ties a supervisor to the program that starts it."""
        return replace(self, owner=owner, report=report)

    def descriptors(self) -> list[int]:
        """What the supervisor must inherit."""
        found = [fd for fd, _, _ in self.listeners] + [self.board, self.owner, self.report]
        if self.handover is not None:
            found += [self.handover.channel, self.handover.pid_file]
        return [fd for fd in found if fd is not None]

    def pack(self) -> int:
        """Writes the parcel into a nameless file; gives its descriptor."""
        return anonymous_file("job", pickle.dumps(self))

    @staticmethod
    def unpack(fd: int) -> Parcel:
        """Reads a parcel that this user's own process packed."""
        parcel: Parcel = pickle.loads(read_all(fd))  # noqa: S301
        return parcel
