"""How log records look and reach standard error, for the command and the processes it starts.

The library itself only logs to `logging.getLogger("manycore.…")`. A program that has set up logging
keeps what it has.

Guarantee: logging never blocks for long. When nobody reads standard error and its pipe is full,
records are dropped, and their number is written as soon as there is room.
"""

from __future__ import annotations

import json
import logging
import os
import select
import sys
from datetime import UTC, datetime
from typing import Final

PATIENCE: Final = 0.5  # seconds that a record waits for a full pipe, before it is dropped
_ATOMIC: Final = select.PIPE_BUF  # bytes that a pipe takes whole once it is writable at all
_STDERR: Final = 2

#: what every record has; anything else came through `extra=` and is a fact of the event
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TextFormatter(logging.Formatter):
    """One line an event: time, level, process, logger, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s [%(process)d] %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the library's name
        """Keeps the event on one line, whatever a peer or a file name put into it."""
        return super().formatMessage(record).replace("\n", "\\n").replace("\r", "\\r")


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the event's facts as keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Gives the line."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "thread": record.threadName,
            "message": record.getMessage(),
        }
        facts = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry | facts, default=str)


class StderrHandler(logging.Handler):
    """Writes records to descriptor 2, whole, and drops them rather than hang."""

    def __init__(self) -> None:
        super().__init__()
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        try:
            data = (self.format(record) + "\n").encode(errors="backslashreplace")
        except Exception:  # a bad format string must not stop the work
            self.handleError(record)
            return
        if self._dropped:
            note = f"{self._dropped} log records were dropped: nobody read standard error\n"
            if not _write(note.encode(), patience=0):
                self._dropped += 1
                return
            self._dropped = 0
        if not _write(data, PATIENCE):
            self._dropped += 1


def _write(data: bytes, patience: float) -> bool:
    """Writes all of it, or as much as is taken in time; False if not all was."""
    poller = select.poll()
    poller.register(_STDERR, select.POLLOUT)
    view = memoryview(data)
    try:
        while view:
            if not poller.poll(patience * 1000):
                return False
            view = view[os.write(_STDERR, view[:_ATOMIC]) :]
    except OSError:  # closed, or the disk is full: there is nowhere to say it
        return False
    return True


def configure(level: str, format: str) -> None:  # noqa: A002  # the setting's name
    """Sends this process's log records to standard error, unless the program did so already.

    Args:
        level: `debug`, `info`, `warning`, `error` or `critical`.
        format: `text` or `json`.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    handler = StderrHandler()
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    root.addHandler(handler)
    root.setLevel(level.upper())


def say(line: str) -> None:
    """Tells the person at the terminal why the command ends: one line, on standard error."""
    print(f"manycore: {line}", file=sys.stderr)  # noqa: T201  # the command's own voice
