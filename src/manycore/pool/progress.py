"""How far a map is, on standard error: a bar for a terminal, now and then a line for anything else.

Nothing is shown when `NO_COLOR` is in the environment: whoever sets it wants plain output. rich is
imported when a bar is drawn, in the program and never in a worker.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import Any, Final, Protocol, TextIO

_REDRAWN_EVERY: Final = 0.1  # seconds: as often as an eye notices
_LINE_EVERY: Final = 5.0  # seconds: a log is read later, and should be short


class Bar(Protocol):
    """Shows how far something is."""

    def show(self, done: int, failed: int = 0) -> None:
        """Says how many are done, failed ones among them; may be called as often as one likes."""

    def close(self) -> None:
        """Shows the last state, and ends."""


class Silent:
    """Shows nothing."""

    def show(self, done: int, failed: int = 0) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Plain:
    """Writes a line now and then, and one at the end.

    Args:
        title: What is done.
        total: How many there are; None: nobody knows.
        stream: Where to.
    """

    def __init__(self, title: str, total: int | None, stream: TextIO) -> None:
        self._title = title
        self._total = total
        self._stream = stream
        self._began = self._written = time.monotonic()
        self._state = (0, 0)
        self._last: tuple[int, int] | None = None

    def show(self, done: int, failed: int = 0) -> None:
        """Takes it in; writes a line when it is time for one."""
        self._state = (done, failed)
        now = time.monotonic()
        if now - self._written >= _LINE_EVERY:
            self._written = now
            self._write()

    def close(self) -> None:
        """Writes the last line."""
        self._write()

    def _write(self) -> None:
        seconds = time.monotonic() - self._began
        line = line_of(self._title, *self._state, self._total, seconds)
        if self._state != self._last:
            self._last = self._state
            with suppress(OSError, ValueError):  # nobody reads it, or it is closed
                self._stream.write(f"{line}\n")  # at once: other maps' threads write there too
                self._stream.flush()


def line_of(title: str, done: int, failed: int, total: int | None, seconds: float) -> str:
    """Says in a line how far something is. Pure.

    Example:
        >>> line_of("thumbnail", 1200, 3, 5000, 4.0)
        'thumbnail: 1,200 of 5,000 (24%), 3 failed, 300/s, 13 s left'
    """
    words = [f"{done:,}" if total is None else f"{done:,} of {total:,}"]
    if total:
        words[0] += f" ({100 * done // total}%)"
    if failed:
        words.append(f"{failed:,} failed")
    rate = done / seconds if seconds > 0 else 0.0
    if rate:
        words.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s")  # noqa: PLR2004
    if total is not None and 0 < done < total:
        words.append(f"{(total - done) / rate:,.0f} s left" if rate else "")
    elif done:
        words.append(f"{seconds:,.1f} s")
    return f"{title}: {', '.join(filter(None, words))}"


class Terminal:
    """Draws a bar.

    Args:
        title: What is done.
        total: How many there are; None: nobody knows.
        stream: The terminal.
    """

    def __init__(self, title: str, total: int | None, stream: TextIO) -> None:
        from rich import progress
        from rich.console import Console

        self._progress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[failed]}", style="red"),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=Console(file=stream),
            auto_refresh=False,  # no thread: it is drawn when something has happened
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task(title, total=total, failed="")
        self._drawn = 0.0
        self._state = (0, 0)
        self._progress.start()

    def show(self, done: int, failed: int = 0) -> None:
        """Takes it in; draws when it is time."""
        self._state = (done, failed)
        now = time.monotonic()
        if now - self._drawn >= _REDRAWN_EVERY:
            self._drawn = now
            self._draw()

    def close(self) -> None:
        """Draws the last state, and gives the terminal back."""
        self._draw()
        self._progress.stop()

    def _draw(self) -> None:
        done, failed = self._state
        words = f"{failed} failed" if failed else ""
        self._progress.update(self._task, completed=done, failed=words, refresh=True)


def open_bar(
    title: str, total: int | None = None, *, quiet: bool = False, stream: Any = None
) -> Bar:
    """Gives what fits where standard error goes.

    Args:
        title: What is done.
        total: How many there are; None: nobody knows.
        quiet: Whether to show nothing.
        stream: Where to, in place of standard error.
    """
    stream = stream or sys.stderr
    if quiet or os.environ.get("NO_COLOR") or stream is None:
        return Silent()
    if stream.isatty():
        with suppress(ImportError):
            return Terminal(title, total, stream)
    return Plain(title, total, stream)
