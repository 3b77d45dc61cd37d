"""The gauntlet: every library meets every misfortune; prints a table.

Run it:  python benchmarks/gauntlet/gauntlet.py [--only LIBRARY] [--cell CELL]

Libraries that are not installed are left out: `pip install --group gauntlet` brings them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from libraries import LIBRARIES

CELL = Path(__file__).with_name("cell.py")
DEADLINE = 45.0  # seconds a cell, all its waits together
TRIES = 3
AFTER_DEATH = 4.5  # seconds: who is alive that long after its parent is an orphan
CTRL_C_PATIENCE = 6.0  # seconds

#: what a library is installed as, where that is not its name
DISTRIBUTIONS = {"deadpool": "deadpool-executor"}

ROWS = {
    "killed": [
        "SIGKILLs itself: that task",
        "… six neighbours that are fine",
        "… pool usable then",
    ],
    "unreadable": ["raises what cannot be unpickled", "… pool usable then"],
    "exit": ["calls sys.exit()", "… pool usable then"],
    "gives_lambda": ["returns a lambda", "… pool usable then"],
    "is_lambda": ["is a lambda", "… pool usable then"],
    "inside": ["opens a pool inside", "… pool usable then"],
    "initializer": ["the initializer raises", "… pool usable then"],
    "parent_idle": ["parent killed: idle workers alive after 4.5 s"],
    "parent_busy": ["parent killed: busy workers alive after 4.5 s"],
    "ctrl_c": ["Ctrl-C while busy: the program", "… tracebacks"],
}


class Cell:
    """A process in which a library meets a misfortune.

    What it says goes into files: workers that outlive it would keep a pipe open.

    Args:
        library: Which.
        name: The misfortune's.
    """

    def __init__(self, library: str, name: str) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed in `end`
        self._complained = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, str(CELL), library, name],
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._complained,
            start_new_session=True,
        )

    def lines(self) -> list[str]:
        """Gives what it has said."""
        return [line for line in _content(self._said).splitlines() if line]

    def first_line(self) -> Any:
        """Waits for what it says first."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline and self.process.poll() is None and not self.lines():
            time.sleep(0.01)
        return json.loads(self.lines()[0]) if self.lines() else []

    def end(self, pids: Sequence[int] = ()) -> str:
        """Kills what is left; gives what was said on standard error."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        complaint = _content(self._complained)
        self._said.close()
        self._complained.close()
        return complaint


def _content(file: IO[bytes]) -> str:
    return os.pread(file.fileno(), 1 << 20, 0).decode(errors="replace")


def run(library: str, name: str) -> list[str]:
    """Runs a cell, and again when it says HANG: that may be so now and then only."""
    runs = [run_once(library, name)]
    while runs[-1][0] == "HANG" and len(runs) < TRIES:
        runs.append(run_once(library, name))
    found, hangs = runs[-1], sum(one[0] == "HANG" for one in runs)
    if 0 < hangs < len(runs):
        found[0] += f" (HANG in {hangs} of {len(runs)} runs)"
    return found


def run_once(library: str, name: str) -> list[str]:
    """Gives what a cell's rows say."""
    cell = Cell(library, name)
    if name == "ctrl_c":
        return press_ctrl_c(cell)
    if name.startswith("parent"):
        return kill_parent(cell)
    found: list[str] = ["HANG"]
    with suppress(subprocess.TimeoutExpired):
        cell.process.wait(DEADLINE)
        found = json.loads(cell.lines()[-1]) if cell.lines() else ["dies"]
    cell.end()
    return found + ["-"] * (len(ROWS[name]) - len(found))


def kill_parent(cell: Cell) -> list[str]:
    pids = cell.first_line()
    cell.process.kill()
    cell.process.wait()
    time.sleep(AFTER_DEATH)
    alive = sum(map(is_alive, pids))
    cell.end(pids)
    return [f"{alive}/{len(pids)}"]


def press_ctrl_c(cell: Cell) -> list[str]:
    cell.first_line()
    time.sleep(0.5)
    began = time.monotonic()
    os.killpg(cell.process.pid, signal.SIGINT)
    try:
        cell.process.wait(CTRL_C_PATIENCE)
        fate = f"ends after {time.monotonic() - began:.1f} s"
    except subprocess.TimeoutExpired:
        fate = f"runs on after {CTRL_C_PATIENCE:.0f} s"
    return [fate, str(cell.end().count("Traceback (most recent call last)"))]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def version(library: str) -> str | None:
    """Gives a library's version; None when it is not here."""
    if library in {"multiprocessing.Pool", "ProcessPoolExecutor"}:
        return platform.python_version()
    try:
        return importlib.metadata.version(DISTRIBUTIONS.get(library, library))
    except importlib.metadata.PackageNotFoundError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--cell", default="")
    options = parser.parse_args()
    versions = {name: version(name) for name in LIBRARIES if options.only in name}
    names = [name for name, found in versions.items() if found]
    print(f"Python {platform.python_version()}, Linux {platform.release()}, 2 workers, fork\n")
    print("| what the task does | " + " | ".join(f"{n} {versions[n]}" for n in names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for cell, titles in ROWS.items():
        if options.cell not in cell:
            continue
        columns = [run(name, cell) for name in names]
        for place, title in enumerate(titles):
            print(f"| {title} | " + " | ".join(c[place] for c in columns) + " |", flush=True)


if __name__ == "__main__":
    main()
