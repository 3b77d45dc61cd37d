"""Where the time of a pool's workers goes. Pure.

What is counted, for each worker, in seconds:

* starting: from its birth until its initializer has run;
* working: inside the user's functions, as the worker measured it;
* pickling: it had tasks and was not inside a function: it read them, wrote results, or they were on
  their way. A task that nobody answered yet counts as working;
* waiting: it had no task while some were queued: the program was too busy to send it one;
* idle: it had no task, none was queued, and others worked.

While nobody works and nothing is queued the pool is at rest, and no time is counted: a pool that is
kept for later is not idle.

Costs: some additions for a batch, nothing for a task.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from .events import Answered, Died, Ready


@dataclass(slots=True)
class Seconds:
    """Time, by what it was spent on."""

    starting: float = 0.0
    working: float = 0.0
    pickling: float = 0.0
    waiting: float = 0.0
    idle: float = 0.0

    def add(self, other: Seconds) -> None:
        """Adds another's."""
        for entry in fields(self):
            setattr(self, entry.name, getattr(self, entry.name) + getattr(other, entry.name))

    def total(self) -> float:
        """All of it."""
        return self.starting + self.working + self.pickling + self.waiting + self.idle


@dataclass(slots=True)
class Alone:
    """What was done without the dispatcher: calls that somebody waited for, one at a time.

    Attributes:
        tasks: How many.
        failed: How many of them failed.
        working: Seconds inside functions.
        pickling: Seconds besides.
    """

    tasks: int = 0
    failed: int = 0
    working: float = 0.0
    pickling: float = 0.0

    def did(self, seconds: float, took: float, *, failed: bool) -> None:
        """Counts a call that took so long, so many seconds of them inside the function.

        One thread at a time.
        """
        self.tasks += 1
        self.failed += failed
        self.working += seconds
        self.pickling += took - seconds


@dataclass(slots=True)
class Account:
    """One worker's time."""

    since: float  #: when what it does now began; without rest when it has no task
    ready: bool = False
    messages: int = 0  #: batches that it has and did not answer
    queued: bool = False  #: whether tasks waited when it had none any more
    seconds: Seconds = field(default_factory=Seconds)


class Ledger:
    """All workers' time.

    Example:
        >>> ledger = Ledger()
        >>> ledger.started(0, now=0.0)
        >>> ledger.was_ready(0, now=0.25)
        >>> ledger.sent(0, now=1.0, queued=False)
        >>> ledger.answered(0, 0.5, queued=False, now=1.75)
        >>> ledger.sum(now=2.0)
        Seconds(starting=0.25, working=0.5, pickling=0.25, waiting=0.0, idle=0.0)
    """

    def __init__(self) -> None:
        self.sending = 0.0  #: seconds that the program took to write tasks
        self.collecting = 0.0  #: seconds that the program took to read results
        self.tasks = 0
        self.failed = 0
        self.lost = 0
        self.retried = 0
        self.born = 0
        self.alone = Alone()
        self._accounts: dict[int, Account] = {}
        self._gone = Seconds()
        self._busy = 0
        self._rested = 0.0
        self._resting_since: float | None = 0.0
        self._began: float | None = None

    def note(self, event: object, *, queued: bool, now: float) -> None:
        """Takes in what happened.

        Args:
            event: One of the rules' events; most of them change nothing here.
            queued: Whether tasks wait.
            now: The time.
        """
        match event:
            case Answered(worker, _, seconds):
                self.answered(worker, seconds, queued=queued, now=now)
            case Ready(worker):
                self.was_ready(worker, now)
            case Died(worker):
                self.died(worker, queued=queued, now=now)

    def started(self, worker: int, now: float) -> None:
        """A worker is being born."""
        self.born += 1
        self._accounts[worker] = Account(now)

    def was_ready(self, worker: int, now: float) -> None:
        """A worker can take tasks."""
        account = self._accounts.get(worker)
        if account is not None:
            account.ready = True
            account.seconds.starting += now - account.since
            account.since = self._active(now)

    def sent(self, worker: int, now: float, *, queued: bool) -> None:
        """A worker was sent a batch.

        Args:
            worker: Which.
            now: The time.
            queued: Whether tasks wait now; when none do, nobody is kept waiting for one.
        """
        account = self._accounts[worker]
        if not account.messages:
            if self._resting_since is not None:
                self._rested += now - self._resting_since
                self._resting_since = None
                if self._began is None:
                    self._began = self._active(now)
            self._leave(account, now)
            account.since = now
            self._busy += 1
        account.messages += 1
        if not queued:
            for other in self._accounts.values():
                if other.queued and not other.messages:
                    self._leave(other, now)
                    other.since, other.queued = self._active(now), False

    def answered(self, worker: int, seconds: float, *, queued: bool, now: float) -> None:
        """A worker is through with a batch.

        Args:
            worker: Which.
            seconds: How long it was inside functions.
            queued: Whether tasks wait.
            now: The time.
        """
        account = self._accounts.get(worker)
        if account is None or not account.messages:
            return
        account.messages -= 1
        account.seconds.working += seconds
        account.seconds.pickling += max(0.0, now - account.since - seconds)
        account.since = now
        if not account.messages:
            self._stop_work(account, queued=queued, now=now)

    def did(self, worker: int, *, failed: bool, queued: bool, now: float) -> None:
        """A thread has done a task: nothing is pickled, so all its time was work."""
        self.tasks += 1
        self.failed += failed
        self.answered(worker, now - self._accounts[worker].since, queued=queued, now=now)

    def died(self, worker: int, *, queued: bool, now: float) -> None:
        """A worker has ended."""
        account = self._accounts.pop(worker, None)
        if account is None:
            return
        if account.messages:
            account.seconds.working += now - account.since
            self._stop_work(account, queued=queued, now=now)
        elif account.ready:
            self._leave(account, now)
        else:
            account.seconds.starting += now - account.since
        self._gone.add(account.seconds)

    def lose(self) -> None:
        """A task ended with its worker."""
        self.tasks += 1
        self.failed += 1
        self.lost += 1

    def _stop_work(self, account: Account, *, queued: bool, now: float) -> None:
        self._busy -= 1
        if not self._busy and not queued:
            self._resting_since = now
        account.since = self._active(now)
        account.queued = queued

    def _leave(self, account: Account, now: float) -> None:
        """Counts the time in which a worker had no task."""
        passed = self._active(now) - account.since
        if account.queued:
            account.seconds.waiting += passed
        else:
            account.seconds.idle += passed

    def _active(self, now: float) -> float:
        """The time without the pool's rest."""
        at_rest = 0.0 if self._resting_since is None else now - self._resting_since
        return now - self._rested - at_rest

    def sum(self, now: float) -> Seconds:
        """Gives the time of all workers until now; may be called from any thread."""
        total = Seconds()
        total.add(self._gone)
        total.working += self.alone.working
        total.pickling += self.alone.pickling
        for account in list(self._accounts.values()):
            total.add(account.seconds)
            if account.messages:
                total.working += max(0.0, now - account.since)
            elif account.ready:
                passed = max(0.0, self._active(now) - account.since)
                total.waiting += passed if account.queued else 0.0
                total.idle += 0.0 if account.queued else passed
            else:
                total.starting += now - account.since
        return total

    def elapsed(self, now: float) -> float:
        """Gives the seconds since the first task was sent, without rest."""
        alone = self.alone.working + self.alone.pickling
        return alone + (0.0 if self._began is None else self._active(now) - self._began)
