"""The command, run as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from eventually import eventually

TARGETS = Path(__file__).parent / "targets"


def run(
    *arguments: str, cwd: Path = TARGETS, timeout: float = 20
) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end; where it would listen, it takes a free port."""
    return subprocess.run(
        [sys.executable, "-m", "manycore", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={"MANYCORE_BIND": "127.0.0.1:0"} | os.environ,
    )


class Served:
    """A `manycore serve` that runs.

    Attributes:
        process: The supervisor.
        log: The file that its standard error goes to.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def text(self) -> str:
        """What it has logged so far."""
        return self.log.read_text()

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self.process.pid

    def await_log(self, words: str, within: float = 10) -> str:
        """Waits for a line of the log that has these words, and gives it."""

        def find() -> str:
            return next((line for line in self.text.splitlines() if words in line), "")

        return eventually(find, within=within, what=lambda: f"no {words!r} in:\n{self.text}")

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, as its ready line says."""
        found = re.search(r" on (?:\[(.+?)\]|([0-9.]+)):([0-9]+)", self.await_log("ready: "))
        assert found, self.text
        return found[1] or found[2], int(found[3])

    def connect(self, timeout: float = 10) -> socket.socket:
        """Connects a client."""
        return socket.create_connection(self.address, timeout=timeout)

    def workers(self) -> list[int]:
        """The process ids of the workers now."""
        return children(self.pid)

    def send(self, signum: signal.Signals) -> None:
        """Sends the supervisor a signal."""
        self.process.send_signal(signum)

    def wait(self, within: float = 10) -> int:
        """Waits for its end; gives the exit code."""
        return self.process.wait(within)


def children(pid: int) -> list[int]:
    """The process ids of a process's children, whichever of its threads started them."""
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            found.extend(map(int, listing.read_text().split()))
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs: a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


@contextmanager
def serve(
    target: str,
    *arguments: str,
    log: Path,
    bind: str = "127.0.0.1:0",
    cwd: Path = TARGETS,
    ready: bool = True,
    fds: tuple[int, ...] = (),
    **environ: str,
) -> Iterator[Served]:
    """Runs `manycore serve` while the block does, and kills what is left of it then."""
    binding = ["--bind", bind] if bind else []
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "manycore", "serve", target, *binding, *arguments],
            cwd=cwd,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            env=os.environ | environ,
            pass_fds=fds,
        )
    served = Served(process, log)
    try:
        if ready:
            served.await_log("ready: ")
        yield served
    finally:
        process.kill()
        process.wait()


def write_version(code: Path, version: int) -> None:
    """Puts a target into a folder, which answers with its version."""
    text = f"VERSION = b'{version}'\n"
    (code / "versioned.py").write_text(text + (TARGETS / "versioned.py.txt").read_text())
