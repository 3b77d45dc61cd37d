"""What a running server can be asked for and told, over its control socket."""

from __future__ import annotations

import os
import re
import time
from dataclasses import asdict
from typing import Any, Final, NamedTuple

from manycore.base.board import Board
from manycore.base.sockets import Listener
from manycore.settings import MOST_WORKERS
from manycore.supervise.asking import WorkerStacks
from manycore.supervise.events import Failure, ReloadAsked, StopAsked, Urgency
from manycore.supervise.supervisor import Supervisor
from manycore.watch.control import Reply
from manycore.watch.protocol import Answer, Request

from . import statistics
from .job import Job

_AMOUNT: Final = re.compile(r"(?P<sign>[+-]?)(?P<number>[0-9]{1,6})")


class _Waiting(NamedTuple):
    generation: int
    reply: Reply


class ServerControl:
    """Answers requests.

    Args:
        job: What is served.
        listeners: Where.
        board: What the workers count on.
        supervisor: Who decides.
    """

    def __init__(
        self, job: Job, listeners: list[Listener], board: Board, supervisor: Supervisor
    ) -> None:
        self._job = job
        self._addresses = [str(listener) for listener in listeners]
        self._board = board
        self._supervisor = supervisor
        self._started = time.monotonic()
        self._waiting: list[_Waiting] = []  # for a reload's end
        self._verbs = {
            "status": self._status,
            "reload": self._reload,
            "scale": self._scale,
            "stop": self._stop,
            "dump": self._dump,
        }

    def handle(self, request: Request, reply: Reply) -> None:
        """Does what a request asks for, and replies now or later."""
        verb = self._verbs.get(request.verb)
        if verb is None:
            known = ", ".join(self._verbs)
            reply(Answer(error=f"there is no verb {request.verb!r}: there are {known}"))
            return
        verb(request.arguments, reply)

    def reload_ends(self, generation: int, failure: Failure | None) -> None:
        """Tells those who wait how it went."""
        answer = Answer({"generation": generation})
        if failure is not None:
            where = f"{failure.where}: " if failure.where else ""
            answer = Answer({"details": failure.details}, f"{where}{failure.problem}")
        still = [waiting for waiting in self._waiting if waiting.generation > generation]
        ended = [waiting for waiting in self._waiting if waiting.generation <= generation]
        self._waiting = still
        for waiting in ended:
            waiting.reply(answer)

    def stopping(self) -> None:
        """Tells those who wait for a reload that there will be none."""
        ended, self._waiting = self._waiting, []
        for waiting in ended:
            waiting.reply(Answer(error="the server is stopping"))

    def _status(self, _arguments: dict[str, Any], reply: Reply) -> None:
        supervisor = self._supervisor
        reply(
            Answer(
                {
                    "name": self._job.settings.name or str(os.getpid()),
                    "target": self._job.name,
                    "pid": os.getpid(),
                    "uptime": time.monotonic() - self._started,
                    "addresses": self._addresses,
                    "workers": supervisor.workers,
                    "generation": supervisor.generation,
                    "reloading": supervisor.reloading,
                    "stopping": supervisor.stopping,
                    "statistics": asdict(statistics.read(self._board)),
                }
            )
        )

    def _reload(self, arguments: dict[str, Any], reply: Reply) -> None:
        # one that is under way may have loaded the old code: ours is the next
        expected = self._supervisor.generation + 1
        self._supervisor.ask(ReloadAsked())
        if self._supervisor.stopping:
            reply(Answer(error="the server is stopping"))
        elif arguments.get("wait"):
            self._waiting.append(_Waiting(expected, reply))
        else:
            reply(Answer({"generation": expected}))

    def _scale(self, arguments: dict[str, Any], reply: Reply) -> None:
        found = _AMOUNT.fullmatch(str(arguments.get("workers")))
        if found is None:
            reply(Answer(error=f"{arguments.get('workers')!r} is no number of workers"))
            return
        number = int(found["number"])
        if found["sign"]:
            step = number if found["sign"] == "+" else -number
            number = self._supervisor.workers + step
        if not 1 <= number <= MOST_WORKERS:
            reply(Answer(error=f"{number} workers are not between 1 and {MOST_WORKERS}"))
            return
        self._supervisor.scale(number)
        reply(Answer({"workers": number}))

    def _stop(self, arguments: dict[str, Any], reply: Reply) -> None:
        urgency = Urgency.QUICK if arguments.get("quick") else Urgency.GRACEFUL
        self._supervisor.ask(StopAsked(urgency))
        reply(Answer({"stopping": urgency.name.lower()}))

    def _dump(self, _arguments: dict[str, Any], reply: Reply) -> None:
        def answer(found: list[WorkerStacks]) -> None:
            reply(Answer({"workers": [asdict(one) for one in found]}))

        self._supervisor.ask_for_stacks(answer)
