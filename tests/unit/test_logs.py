"""How log records look, and that writing them holds nobody up."""

from __future__ import annotations

import json
import logging
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from manycore.base import logs
from manycore.base.logs import JsonFormatter, TextFormatter


def record(message: object, *args: object, **facts: Any) -> logging.LogRecord:
    exc_info = facts.pop("exc_info", None)
    logger = logging.getLogger("manycore.test")
    return logger.makeRecord(
        logger.name, logging.WARNING, __file__, 1, message, args, exc_info, extra=facts
    )


def raised() -> Any:
    try:
        raise LookupError("no\nsuch")
    except LookupError:
        return sys.exc_info()


class TestText:
    def test_a_line_has_time_level_process_logger_and_message(self) -> None:
        """What people look for, in this order."""
        line = TextFormatter().format(record("worker %d is ready", 3))
        when, rest = line[:23], line[23:]
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", when)
        assert rest == f" WARNING [{os.getpid()}] manycore.test: worker 3 is ready"

    @pytest.mark.parametrize(
        ("message", "written"),
        [
            ("two\nlines", r"two\nlines"),
            ("two\r\nlines", r"two\r\nlines"),
            ("back\rover", r"back\rover"),
            ("\n2026-01-01 ERROR forged", r"\n2026-01-01 ERROR forged"),
            ("end\n", r"end\n"),
        ],
    )
    def test_an_event_stays_on_its_line(self, message: str, written: str) -> None:
        """Whatever a peer put into a message or its arguments, it cannot forge a line."""
        for event in (record(message), record("%s", message)):
            line = TextFormatter().format(event)
            assert line.endswith(f"manycore.test: {written}")
            assert not {"\n", "\r"} & set(line)

    def test_a_traceback_follows_its_event(self) -> None:
        """The event is the first line, and the traceback is as Python writes it."""
        first, second, *_, last = (
            TextFormatter().format(record("it failed", exc_info=raised())).split("\n")
        )
        assert first.endswith("manycore.test: it failed")
        assert second == "Traceback (most recent call last):"
        assert last == "such"


class TestJson:
    def test_a_line_is_an_object_with_the_events_facts(self) -> None:
        """Time in UTC, level, logger, process, thread, message, and what `extra` gave."""
        event = record("client %s\nwent away", "x", worker=3, peer=("::1", 80), path=Path("/a"))
        line = JsonFormatter().format(event)
        assert "\n" not in line
        entry = json.loads(line)
        when = datetime.fromisoformat(entry.pop("time"))
        assert when.tzinfo == UTC
        assert abs(when.timestamp() - event.created) < 0.001
        assert entry == {
            "level": "warning",
            "logger": "manycore.test",
            "pid": os.getpid(),
            "thread": "MainThread",
            "message": "client x\nwent away",
            "worker": 3,
            "peer": ["::1", 80],
            "path": "/a",
        }

    def test_a_traceback_is_a_fact(self) -> None:
        """It is in the object, so the event is one line all the same."""
        line = JsonFormatter().format(record("it failed", exc_info=raised()))
        assert "\n" not in line
        traceback = json.loads(line)["traceback"]
        assert traceback.startswith("Traceback (most recent call last):\n")
        assert traceback.endswith("LookupError: no\nsuch")

    def test_text_of_any_kind_is_json(self) -> None:
        """Surrogates of a file name, controls, other alphabets: the reader gets them back."""
        message = "\udcff \x00 \u2028 \u00e9 \U0001f600"
        assert json.loads(JsonFormatter().format(record(message)))["message"] == message


@contextmanager
def fresh_root() -> Iterator[logging.Logger]:
    """The root logger of a program that has not set up logging; pytest's handlers are put aside."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers
    root.handlers = []
    try:
        yield root
    finally:
        root.handlers = handlers
        root.setLevel(level)


class TestConfigure:
    @pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
    def test_records_of_the_level_go_to_standard_error(
        self, capfd: pytest.CaptureFixture[str], level: str
    ) -> None:
        """From the level on, a line each; standard output gets nothing."""
        names = ["debug", "info", "warning", "error", "critical"]
        with fresh_root() as root:
            logs.configure(level, "text")
            for name in names:
                root.log(logging.getLevelNamesMapping()[name.upper()], name)
        out, err = capfd.readouterr()
        assert out == ""
        assert [line.split(": ")[1] for line in err.splitlines()] == names[names.index(level) :]

    def test_json_is_json(self, capfd: pytest.CaptureFixture[str]) -> None:
        """With the other format each line is an object."""
        with fresh_root() as root:
            logs.configure("info", "json")
            root.info("a")
            root.error("b", extra={"worker": 3})
        first, second = map(json.loads, capfd.readouterr().err.splitlines())
        assert (first["message"], second["message"], second["worker"]) == ("a", "b", 3)

    def test_a_program_that_has_set_up_logging_keeps_what_it_has(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Neither its handlers nor its level are touched."""
        own = logging.NullHandler()
        with fresh_root() as root:
            root.addHandler(own)
            root.setLevel(logging.ERROR)
            logs.configure("debug", "json")
            assert root.handlers == [own]
            assert root.level == logging.ERROR
            root.error("x")
        assert capfd.readouterr().err == ""

    def test_configuring_twice_writes_once(self, capfd: pytest.CaptureFixture[str]) -> None:
        """A worker that is told again has one handler still."""
        with fresh_root() as root:
            logs.configure("info", "text")
            logs.configure("info", "text")
            root.info("once")
        assert capfd.readouterr().err.count("once") == 1

    def test_text_that_is_not_unicode_is_written(self, capfd: pytest.CaptureFixture[str]) -> None:
        """A file name of any bytes comes out escaped."""
        with fresh_root() as root:
            logs.configure("info", "text")
            root.info("no file %s", "\udcff")
        assert capfd.readouterr().err.endswith("no file \\udcff\n")

    def test_a_bad_format_string_stops_nothing(self, capfd: pytest.CaptureFixture[str]) -> None:
        """The mistake is shown, and the work goes on."""
        with fresh_root() as root:
            logs.configure("info", "text")
            root.info("%d", "three")
            root.info("next")
        err = capfd.readouterr().err
        assert "TypeError: %d format" in err
        assert err.endswith("root: next\n")

    def test_a_long_record_is_written_whole(self, capfd: pytest.CaptureFixture[str]) -> None:
        """Longer than what a pipe takes at once."""
        with fresh_root() as root:
            logs.configure("info", "text")
            root.info("x" * 300_000 + "end")
        assert capfd.readouterr().err.endswith("x" * 300_000 + "end\n")

    def test_a_closed_standard_error_stops_nothing(self, capfd: pytest.CaptureFixture[str]) -> None:
        """There is nowhere to say it; when there is one again, the number is said."""
        with fresh_root() as root:
            logs.configure("info", "text")
            kept = os.dup(2)
            try:
                os.close(2)
                root.info("nobody hears this")
            finally:
                os.dup2(kept, 2)
                os.close(kept)
            root.info("somebody hears this")
        note, heard = capfd.readouterr().err.splitlines()
        assert "1 log records were dropped" in note
        assert heard.endswith("somebody hears this")


def test_say_speaks_in_the_commands_name(capsys: pytest.CaptureFixture[str]) -> None:
    """One line for the person at the terminal."""
    logs.say("it does not work")
    assert capsys.readouterr() == ("", "manycore: it does not work\n")


PROGRAM = """
import logging, sys, time
from manycore.base.logs import configure
log = logging.getLogger("manycore.test")

def tell(*facts):
    print(*facts, flush=True)

def go_on():
    sys.stdin.readline()

"""


class Program:
    """A program that logs into a pipe which nobody reads until the test does."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def said(self, within: float) -> str:
        """Its next line on standard output; fails the test when it hangs."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], within)
        assert ready, f"nothing was said within {within} s: it hangs"
        return self.process.stdout.readline().decode().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def logged(self, until: Callable[[bytes], bool]) -> bytes:
        """Reads what it logged, until there is enough or the program has ended."""
        assert self.process.stderr is not None
        fd, data, deadline = self.process.stderr.fileno(), b"", time.monotonic() + 10
        while not until(data):
            assert select.select([fd], [], [], deadline - time.monotonic())[0], data[-1000:]
            chunk = os.read(fd, 65_536)
            if not chunk:
                break
            data += chunk
        return data


@contextmanager
def running(code: str) -> Iterator[Program]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        try:
            yield Program(process)
        finally:
            process.kill()


FILL_AND_GO_ON = """
configure("info", {format!r})
started = time.monotonic()
for number in range(2000):
    log.info("event %d %s", number, "x" * 100)
tell(time.monotonic() - started)
go_on()
log.info("after")
log.info("later")
"""


def lines_around_a_full_pipe(format_: str) -> list[str]:
    """Everything that a program logs whose standard error is full for a while."""
    with running(FILL_AND_GO_ON.format(format=format_)) as program:
        took = float(program.said(within=20))
        assert took < 10 * logs.PATIENCE, "each record waits, not only the first"
        assert program.process.stderr is not None
        fd = program.process.stderr.fileno()
        data = b""
        while select.select([fd], [], [], 0)[0]:
            data += os.read(fd, 65_536)
        program.go_on()
        data += program.logged(until=lambda data: b"later" in data)
    return data.decode().splitlines()


def test_a_full_pipe_drops_records_and_says_how_many() -> None:
    """Nobody reads: the program goes on; somebody does: the number of what is missing comes."""
    lines = lines_around_a_full_pipe("text")
    written = [line for line in lines if "manycore.test: event " in line]
    assert 0 < len(written) < 2000
    assert [line.split("event ")[1].split()[0] for line in written] == [
        str(number) for number in range(len(written))
    ]
    *_, note, after, later = lines
    dropped = 2000 - len(written)
    assert note.endswith(f"{dropped} log records were dropped: nobody read standard error")
    assert after.endswith("after")
    assert later.endswith("later")
    assert len(lines) == len(written) + 3


def test_every_line_is_json_when_records_were_dropped() -> None:
    """What counts the missing records is a record itself, in the format that was asked for."""
    lines = lines_around_a_full_pipe("json")
    entries = [json.loads(line) for line in lines]
    assert any("were dropped" in entry["message"] for entry in entries)


def test_a_bad_format_string_does_not_hang_at_a_full_pipe() -> None:
    """A mistake in a log call, while nobody reads standard error, is dropped like a record."""
    code = """
configure("info", "text")
for number in range(2000):
    log.info("event %d %s", number, "x" * 100)
tell("full")
for number in range(3):
    log.info("%d", "three" * 20_000)
tell("alive")
"""
    with running(code) as program:
        assert program.said(within=20) == "full"
        assert program.said(within=6) == "alive"


def test_a_record_larger_than_the_pipe_does_not_hang() -> None:
    """What can be written is, and the rest is dropped."""
    code = """
configure("info", "text")
log.info("x" * 1_000_000)
tell("alive")
"""
    with running(code) as program:
        assert program.said(within=6) == "alive"
