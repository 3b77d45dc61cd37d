"""One run: a thread reads items and queues them, the calling thread writes what comes back.

Rules:

1. An item is in the journal before it is in the output. The output is made of the journal and of
   what is done now, so it is whole after any number of runs.
2. A bounded number of items is under way, however long the input is.
3. The journal, the output and the bar are touched by the calling thread alone.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple, Self

from manycore.errors import MapRefused
from manycore.pool.classic import Pool
from manycore.pool.progress import Bar, open_bar
from manycore.settings import MapSettings

from . import lines, records, task
from .items import Source, open_source
from .journal import Journal
from .order import Turns
from .output import Output

_UNDER_WAY: Final = 512  # items for each worker: batches of the shortest tasks are full
_LOOKED_EVERY: Final = 0.1  # seconds between two drawings of the bar while nothing comes
_FLUSHED_EVERY: Final = 256  # items, while more are there; when none is, at once
_HELD: Final = 10_000  # results that wait in memory for their turn, when there is a journal
_SHOWN: Final = 10  # failures that the summary shows


class Kept(NamedTuple):
    """An item that an earlier run has done."""

    number: int


class Done(NamedTuple):
    """An item that this run has done."""

    number: int
    line: bytes
    future: Any


class End(NamedTuple):
    """There are no more items than these; or there was an error."""

    total: int
    error: BaseException | None


@dataclass(slots=True)
class Summary:
    """What a run has done.

    Attributes:
        total: How many items there are; None: nobody knows yet.
        done: How many are done, failed ones and those of earlier runs among them.
        kept: How many were done by earlier runs.
        failed: How many failed.
        failures: The first of those, a line each.
    """

    total: int | None = None
    done: int = 0
    kept: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)

    def lines(self, output: str) -> list[str]:
        """Says what went wrong, for people."""
        if not self.failed:
            return []
        found = [f"{self.failed:,} of {self.done:,} items failed", *self.failures]
        if self.failed > len(self.failures):
            place = "the output" if output == "-" else output
            found.append(f"… {self.failed - len(self.failures):,} more; see {place}")
        return found


class Feeder:
    """A thread that reads items and queues those that are missing, while a block runs.

    Args:
        source: Where they come from.
        pool: Who does them.
        journal: Which were done.
        room: How many may be under way.
    """

    def __init__(self, source: Source, pool: Any, journal: Journal | None, room: int) -> None:
        self.events: queue.SimpleQueue[Kept | Done | End] = queue.SimpleQueue()
        self._source = source
        self._pool = pool
        self._journal = journal
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()  # of what may come under way
        for _ in range(room):
            self._room.put(None)
        self._count = 0
        self._stopping = False
        self._stop, self._stopper = os.pipe()
        self._thread = threading.Thread(target=self._run, name="manycore-map-reader", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the thread, whatever it waits for."""
        self._stopping = True
        self._room.put(None)
        os.write(self._stopper, b"x")
        self._thread.join()
        os.close(self._stop)
        os.close(self._stopper)

    def make_room(self) -> None:
        """Says that an item is not under way any more."""
        self._room.put(None)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._read()
        except BaseException as problem:
            error = problem
        self.events.put(End(self._count, error))

    def _read(self) -> None:
        for number, line in enumerate(self._source.read(self._stop)):
            self._room.get()
            if self._stopping:
                return
            self._count = number + 1
            if self._journal is not None and self._journal.has(number):
                self._journal.check(number, line)
                self.events.put(Kept(number))
                continue
            future = self._pool.submit(task.do, number, lines.as_text(line))
            future.add_done_callback(partial(self._tell, number, line))
        if self._journal is not None and not self._stopping:
            self._journal.check_end(self._count)

    def _tell(self, number: int, line: bytes, future: Any) -> None:
        self.events.put(Done(number, line, future))


class Run:
    """A run, from its start to its end.

    Args:
        target: What is called.
        settings: How.
    """

    def __init__(self, target: str, settings: MapSettings) -> None:
        self.summary = Summary()
        self._target = target
        self._settings = settings

    def run(self) -> None:
        """Does what is missing.

        Raises:
            ManycoreError: When it cannot be begun, or cannot go on.
            BrokenPipeError: When nobody reads the output any more.
        """
        with ExitStack() as stack:
            try:
                self._run(stack)
            except KeyboardInterrupt:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough: the end is near
                raise

    def _run(self, stack: ExitStack) -> None:
        settings = self._settings
        _keep_apart(settings)
        task.load(self._target)
        source = open_source(settings.input)
        stack.callback(source.close)
        journal = None
        if settings.journal:
            header = records.Header(self._target, source.name, settings.items)
            journal = Journal(settings.journal, header)
            stack.callback(journal.close)
            _verify(source, journal)
        output = Output(settings.output)
        stack.callback(output.close)
        self.summary.total = source.total
        quiet = settings.quiet or output.is_terminal()  # two things on one terminal are none
        bar = open_bar(f"manycore: {self._target}", source.total, quiet=quiet)
        stack.callback(bar.close)
        pool = stack.enter_context(_start_pool(self._target, settings))
        room = _UNDER_WAY * settings.workers
        feeder = stack.enter_context(Feeder(source, pool, journal, room))
        writer = Writer(journal, output, ordered=not settings.unordered)
        self._collect(feeder, writer, bar)
        writer.flush()

    def _collect(self, feeder: Feeder, writer: Writer, bar: Bar) -> None:
        summary, expected = self.summary, None
        while summary.done != expected:
            try:
                event = feeder.events.get_nowait()
            except queue.Empty:
                writer.flush()  # whoever reads the output sees what there is
                bar.show(summary.done, summary.failed)
                try:
                    event = feeder.events.get(timeout=_LOOKED_EVERY)
                except queue.Empty:
                    continue
            match event:
                case End(total, error):
                    if error is not None:
                        raise error
                    expected = summary.total = total
                    continue
                case Kept(number):
                    summary.kept += 1
                    writer.keep(number)
                case Done(number, line, future):
                    error = future.exception()
                    if error is None:
                        writer.add(number, line, future.result())
                    else:
                        self._note_failure(number, error)
                        text = lines.as_text(line)
                        items = self._settings.items
                        writer.fail(number, records.failure(number, text, items, error))
            summary.done += 1
            feeder.make_room()
        bar.show(summary.done, summary.failed)

    def _note_failure(self, number: int, error: BaseException) -> None:
        self.summary.failed += 1
        if len(self.summary.failures) < _SHOWN:
            self.summary.failures.append(f"line {number + 1}: {records.in_words(error)}")


class Writer:
    """Writes what is done, into the journal at once and into the output when its turn comes.

    Args:
        journal: The journal, if there is one.
        output: The output.
        ordered: Whether the output has the order of the items.
    """

    def __init__(self, journal: Journal | None, output: Output, *, ordered: bool) -> None:
        self._journal = journal
        self._output = output
        self._turns: Turns[bytes | None] | None = Turns() if ordered else None
        self._taken = 0

    def keep(self, number: int) -> None:
        """Takes an item that is in the journal."""
        self._put(number, None)

    def add(self, number: int, line: bytes, record: bytes) -> None:
        """Takes an item that was done now."""
        kept: bytes | None = record
        if self._journal is not None:
            self._journal.add(number, line, record)
            if self._turns is not None and len(self._turns) > _HELD:
                kept = None  # read again when its turn comes: until then it needs no memory
        self._put(number, kept)

    def fail(self, number: int, record: bytes) -> None:
        """Takes an item that failed: the next run tries it again."""
        self._put(number, record)

    def _put(self, number: int, record: bytes | None) -> None:
        if self._turns is None:
            self._write(number, record)
        else:
            for now, found in self._turns.take(number, record):
                self._write(now, found)
        self._taken += 1
        if self._taken % _FLUSHED_EVERY == 0:
            self.flush()

    def _write(self, number: int, record: bytes | None) -> None:
        if record is None:
            assert self._journal is not None
            record = self._journal.record(number)
        self._output.write(record)

    def flush(self) -> None:
        """Writes what was taken: into the journal, and then into the output."""
        if self._journal is not None:
            self._journal.flush()
        self._output.flush()


def _keep_apart(settings: MapSettings) -> None:
    """Makes sure that nothing is written over what is read.

    Raises:
        MapRefused: When one file has two parts to play.
    """
    named = {"--input": settings.input, "--output": settings.output, "--journal": settings.journal}
    seen: dict[str, str] = {}
    for flag, path in named.items():
        if path in {"", "-"}:
            continue
        real = os.path.realpath(path)
        if real in seen:
            raise MapRefused(path, f"it is {seen[real]} and {flag}", "name two files")
        seen[real] = flag


def _verify(source: Source, journal: Journal) -> None:
    """Compares the input with a journal before anything is done; what is read as it comes, later.

    Raises:
        MapRefused: When the input is another one.
    """
    if source.total is None or not journal.done:
        return
    journal.check_end(source.total)
    for number, line in enumerate(source.read(-1)):
        if journal.has(number):
            journal.check(number, line)


def _start_pool(target: str, settings: MapSettings) -> Pool:
    return Pool(
        settings.workers,
        task.begin,
        (target, settings.items),
        timeout=settings.timeout,
        retries=settings.retries,
    )
