"""Asks workers where their threads are, and waits for none of them for long.

A worker that is well answers by itself, within a moment. One that does not is made to answer, by
the signal's handler. One that does not even then is stopped, or the kernel holds it: that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from manycore.base import life
from manycore.base.stackfile import ASK, FORCE
from manycore.base.stacks import Stack

from .handle import WorkerHandle
from .timers import Timers

PATIENCE: Final = 1.0  # seconds: who is well and very busy answers in less
LOOK_EVERY: Final = 0.05  # seconds: what is written without a pause of this length is finished
GIVE_UP_AFTER: Final = 2.0  # seconds beyond the patience


@dataclass(frozen=True, slots=True)
class WorkerStacks:
    """What a worker answered.

    Attributes:
        worker: Its place's number.
        pid: Its process id.
        generation: How many reloads came before it.
        stacks: Where its threads are, and what else waits in it.
        note: Why there is less than that; empty when it answered by itself.
    """

    worker: int
    pid: int
    generation: int
    stacks: list[Stack]
    note: str = ""


Done: TypeAlias = Callable[[WorkerStacks], None]


@dataclass(slots=True)
class _Question:
    """One worker that was asked."""

    waiting: list[Done] = field(default_factory=list)
    looks: int = 0
    size: int = 0


class Asking:
    """The questions that are under way.

    Args:
        workers: The workers there are, by name.
        timers: Who calls us later.
    """

    def __init__(self, workers: Mapping[int, WorkerHandle], timers: Timers) -> None:
        self._workers = workers
        self._timers = timers
        self._questions: dict[int, _Question] = {}

    def ask(self, name: int, done: Done) -> None:
        """Asks one worker; two that ask at once are given the same answer."""
        question = self._questions.get(name)
        if question is not None:
            question.waiting.append(done)
            return
        question = self._questions[name] = _Question([done])
        handle = self._workers[name]
        handle.stack_file.clear()
        if handle.was_ready:
            handle.send_signal(ASK)
            self._timers.call_later(PATIENCE, lambda: self._force(name, question))
        else:  # it has nobody yet who could answer
            self._force(name, question)

    def answered(self, name: int) -> None:
        """A worker says that it has."""
        self._end(name, "")

    def gone(self, name: int) -> None:
        """A worker has ended; to be called before its handle is let go."""
        self._end(name, "it ended meanwhile")

    def _force(self, name: int, question: _Question) -> None:
        if self._questions.get(name) is question:
            self._workers[name].send_signal(FORCE)
            self._timers.call_later(LOOK_EVERY, lambda: self._look(name, question))

    def _look(self, name: int, question: _Question) -> None:
        """Sees whether faulthandler has finished: nobody says so."""
        if self._questions.get(name) is not question:
            return
        handle = self._workers[name]
        size = handle.stack_file.size
        if size and size == question.size:
            busy = "it did not answer in time: some C code holds the interpreter's lock"
            self._end(name, busy if handle.was_ready else "it boots")
            return
        question.size = size
        question.looks += 1
        if question.looks * LOOK_EVERY >= GIVE_UP_AFTER:
            self._end(name, f"it does not answer: the process is {life.state(handle.pid)}")
            return
        self._timers.call_later(LOOK_EVERY, lambda: self._look(name, question))

    def _end(self, name: int, note: str) -> None:
        question = self._questions.pop(name, None)
        if question is None:
            return
        handle = self._workers[name]
        order, found = handle.order, handle.stack_file.read()
        answer = WorkerStacks(order.number, handle.pid, order.generation, found, note)
        for done in question.waiting:
            done(answer)
