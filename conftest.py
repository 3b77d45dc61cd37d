"""What holds for every test, those in docstrings too: it leaves nothing behind."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

from eventually import eventually
from manycore.pool.classic import Pool
from manycore.pool.executor import Executor

settings.register_profile("manycore", database=None, deadline=None)
settings.load_profile("manycore")

# a shell's background job ignores it, and so would every program that a test interrupts
signal.signal(signal.SIGINT, signal.default_int_handler)

#: they fail, or end the process, when they are imported
collect_ignore = ["tests/targets"]

MARK = "MANYCORE_TEST_MARK"  # in the environment of everything that a test starts


@pytest.fixture(autouse=True)
def nothing_is_left(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Fails a test that leaves a process, a descriptor, a thread or a file behind."""
    mark = uuid.uuid4().hex
    scratch = tmp_path_factory.mktemp("scratch")
    monkeypatch.setenv(MARK, mark)
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setenv("PYTHON_COLORS", "0")  # tracebacks at a terminal, from 3.13 on
    # where control sockets are; what a killed server leaves there, the next one removes
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    threads, descriptors, here = set(threading.enumerate()), _descriptors(), set(os.listdir())
    yield
    _stop_template()
    eventually(lambda: not _processes(mark), within=3, what=lambda: f"left: {_processes(mark)}")
    eventually(
        lambda: set(threading.enumerate()) <= threads,
        within=3,
        what=lambda: f"threads left: {set(threading.enumerate()) - threads}",
    )
    gc.collect()  # an exception that was looked at holds the frames that it went through
    multiprocessing.active_children()  # lets go of those that have ended and were not joined
    opened = {fd: name for fd, name in _descriptors().items() if fd not in descriptors}
    assert not opened, f"descriptors left open: {opened}"
    assert not os.listdir(scratch), f"files left: {os.listdir(scratch)}"
    assert set(os.listdir()) <= here, f"files left: {set(os.listdir()) - here}"


def _stop_template() -> None:
    """Ends the process that workers and processes are forked from, if the test has started one."""
    template = sys.modules.get("manycore.base.template")
    if template is not None and template._current is not None:
        gc.collect()  # a caught exception and its frame keep each other, and a process, alive
        template.stop()


@pytest.fixture
def pool() -> Iterator[Pool]:
    """Gives a pool of two workers."""
    with Pool(2) as pool:
        yield pool


@pytest.fixture
def executor() -> Iterator[Executor]:
    """Gives an executor of two workers."""
    with Executor(2) as executor:
        yield executor


def _descriptors() -> dict[str, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the listing's own
            found[entry.name] = os.readlink(entry)
    return found


def _processes(mark: str) -> list[str]:
    """Finds what carries the test's mark, wherever it has gone, and what is still our child."""
    found = [str(child) for child in psutil.Process().children()]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(str(process))
    return found
