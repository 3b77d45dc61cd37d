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
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

from manycore.errors import SettingsError

PATIENCE: Final = 0.5  # seconds that a record waits for a full pipe, before it is dropped
_ATOMIC: Final = select.PIPE_BUF  # bytes that a pipe takes whole once it is writable at all
_STDERR: Final = 2

#: what every record has; anything else came through `extra=` and is a fact of the event
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


#: a client or a file name must not move the terminal's cursor, nor begin a line of its own
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_CONTROLS |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_CONTROLS_IN_TEXT = {code: words for code, words in _CONTROLS.items() if chr(code) not in "\n\t"}


class TextFormatter(logging.Formatter):
    """One line an event: time, level, process, logger, message; a traceback below it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s [%(process)d] %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the library's name
        """Keeps the event on one line."""
        return super().formatMessage(record).translate(_CONTROLS)

    def formatException(self, ei: Any) -> str:  # noqa: N802  # the library's name
        """Keeps the traceback's lines, and nothing else that moves the cursor."""
        return super().formatException(ei).translate(_CONTROLS_IN_TEXT)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the event's facts as keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Gives the line."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "thread": record.threadName,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        for key, value in vars(record).items():
            if key not in _STANDARD:
                entry.setdefault(key, value)
        try:
            return json.dumps(entry, default=str, allow_nan=False)
        except ValueError:  # not a number, which JSON cannot say, or a fact that holds itself
            return json.dumps({key: _plain(value) for key, value in entry.items()})


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | None) else repr(value)


class StderrHandler(logging.Handler):
    """Writes records to standard error, whole, and drops them rather than hang."""

    def __init__(self) -> None:
        super().__init__()
        self._fd = _open_without_blocking(_STDERR)
        self._dropped = 0

    def close(self) -> None:
        """Closes what was opened here."""
        if self._fd != _STDERR:
            os.close(self._fd)
            self._fd = _STDERR
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record, after the number of those that were dropped before it."""
        if self._dropped:
            text = f"{self._dropped} log records were dropped: nobody read standard error"
            facts = {"name": __name__, "levelname": "WARNING", "msg": text}
            if not self._write(logging.makeLogRecord(facts), patience=0.0):
                self._dropped += 1
                return
            self._dropped = 0
        if not self._write(record, PATIENCE):
            self._dropped += 1

    def _write(self, record: logging.LogRecord, patience: float) -> bool:
        """Writes a record as far as it is taken in time; False if it was not taken whole."""
        try:
            line = self.format(record)
        except Exception as error:  # the caller's format string and arguments do not fit
            line = self.format(_complaint(record, error))
        view = memoryview((line + "\n").encode(errors="backslashreplace"))
        deadline = time.monotonic() + patience
        poller = select.poll()
        poller.register(self._fd, select.POLLOUT)
        try:
            while view:
                left = max(0.0, deadline - time.monotonic())
                if not poller.poll(left * 1000):
                    return False
                with suppress(BlockingIOError):  # another process was faster
                    view = view[os.write(self._fd, view[:_ATOMIC]) :]
        except OSError:  # closed, or the disk is full: there is nowhere to say it
            return False
        return True


class FileHandler(logging.Handler):
    """Appends records to a file, each by one write, and finds it anew when it was moved away.

    Guarantee: a record is in the file that had the name a moment ago, or in the one that has it
    now; rotation loses none, whether anybody tells of it or not.

    Args:
        path: The file.
        owner: Whose it is to be, if that is another user; root can make it so.

    Raises:
        OSError: When it cannot be opened.
    """

    def __init__(self, path: str, owner: tuple[int, int] | None = None) -> None:
        super().__init__()
        self._path = os.path.abspath(path)
        self._owner = owner
        self._fd = _open_to_append(self._path, owner)

    def close(self) -> None:
        """Closes the file."""
        with self._locked():
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
        super().close()

    def reopen(self) -> None:
        """Opens the file that has the name now; where that fails, the old one is kept."""
        with self._locked():
            self._follow()

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        try:
            line = self.format(record)
        except Exception as error:  # the caller's format string and arguments do not fit
            line = self.format(_complaint(record, error))
        with suppress(OSError):  # the disk is full: there is nowhere to say it
            self._follow()
            os.write(self._fd, (line + "\n").encode(errors="backslashreplace"))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def _follow(self) -> None:
        with suppress(OSError):
            try:
                found, ours = os.stat(self._path), os.fstat(self._fd)
                if (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino):
                    return
            except FileNotFoundError:
                pass
            fd = _open_to_append(self._path, self._owner)
            os.close(self._fd)
            self._fd = fd


def _open_to_append(path: str, owner: tuple[int, int] | None) -> int:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    if owner is not None:
        with suppress(PermissionError):  # it is that one who opens it
            os.fchown(fd, *owner)
    return fd


def reopen() -> bool:
    """Opens this process's log files anew; False if it has none."""
    handlers = [h for h in logging.getLogger().handlers if isinstance(h, FileHandler)]
    for handler in handlers:
        handler.reopen()
    return bool(handlers)


def _complaint(record: logging.LogRecord, error: Exception) -> logging.LogRecord:
    """Says that a record cannot be formatted, where it comes from and why."""
    where = f"{record.pathname}:{record.lineno}"
    facts = {"name": record.name, "levelname": "ERROR", "process": record.process}
    text = f"the log record {record.msg!r} of {where} cannot be formatted: "
    text += f"{type(error).__name__}: {error}"
    return logging.makeLogRecord(facts | {"msg": text, "args": ()})


def _open_without_blocking(fd: int) -> int:
    """Gives a pipe's end a second description, of our own, on which a write never waits.

    A flag on the first one would be everybody's who has it. A file would be written from its
    start, so it keeps the one that it has.
    """
    try:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
            return os.open(f"/proc/self/fd/{fd}", flags)
    except OSError:  # no /proc, or another user's pipe
        pass
    return fd


def configure(
    level: str,
    format: str,  # noqa: A002  # the setting's name
    path: str = "",
    owner: tuple[int, int] | None = None,
) -> None:
    """Sends this process's log records on, unless the program did so already.

    Args:
        level: `debug`, `info`, `warning`, `error` or `critical`.
        format: `text` or `json`.
        path: The file that they go to; nothing: standard error.
        owner: Whose the file is to be, if it is not ours.

    Raises:
        SettingsError: When the file cannot be opened.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    handler = _open_file(path, owner) if path else StderrHandler()
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    root.addHandler(handler)
    root.setLevel(level.upper())


def _open_file(path: str, owner: tuple[int, int] | None) -> logging.Handler:
    try:
        return FileHandler(path, owner)
    except OSError as error:
        problem = f"{path} cannot be opened: {(error.strerror or str(error)).lower()}"
        raise SettingsError("--log-file", problem, "give a file that can be written") from None


def say(line: str) -> None:
    """Tells the person at the terminal why the command ends: one line, on standard error."""
    print(f"manycore: {line}", file=sys.stderr)  # noqa: T201  # the command's own voice
