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
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from libraries import LIBRARIES

CELL = Path(__file__).with_name("cell.py")
DEADLINE = 60.0  # seconds a cell, all its waits together
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


def start(library: str, cell: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(CELL), library, cell],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str], pids: Sequence[int] = ()) -> str:
    """Kills what is left; gives what was said on standard error."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    try:
        return process.communicate(timeout=5)[1]
    except subprocess.TimeoutExpired:  # somebody we do not know has the pipe
        process.kill()
        return ""


def run(library: str, cell: str) -> list[str]:
    """Runs a cell; gives what its rows say."""
    process = start(library, cell)
    if cell == "ctrl_c":
        return press_ctrl_c(process)
    if cell.startswith("parent"):
        return kill_parent(process)
    try:
        said, _ = process.communicate(timeout=DEADLINE)
        found: list[str] = json.loads(said.splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError):
        found = ["HANG"]
    end(process)
    return found + ["-"] * (len(ROWS[cell]) - len(found))


def first_line(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    return json.loads(line) if line else []


def kill_parent(process: subprocess.Popen[str]) -> list[str]:
    pids = first_line(process)
    process.kill()
    process.wait()
    time.sleep(AFTER_DEATH)
    alive = sum(map(is_alive, pids))
    end(process, pids)
    return [f"{alive}/{len(pids)}"]


def press_ctrl_c(process: subprocess.Popen[str]) -> list[str]:
    first_line(process)
    time.sleep(0.5)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(CTRL_C_PATIENCE)
        fate = f"ends after {time.monotonic() - began:.1f} s"
    except subprocess.TimeoutExpired:
        fate = f"runs on after {CTRL_C_PATIENCE:.0f} s"
    return [fate, str(end(process).count("Traceback (most recent call last)"))]


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
