"""One library meets one misfortune, in a process of its own; says on its last line how it went.

python benchmarks/gauntlet/cell.py LIBRARY CELL
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import tasks
from libraries import LIBRARIES, Library

PATIENCE = 5.0  # seconds for each wait
BILLIARD_PATIENCE = 15.0  # it notices a death after ten seconds, and that is to be seen


def outcome(pool: Library, handle: Any, patience: float = PATIENCE) -> str:
    """Waits for a result; says in a word what came."""
    began = time.monotonic()
    try:
        value = pool.result(handle, patience)
    except BaseException as error:
        late = time.monotonic() - began >= patience - 0.5
        names = [kind.__name__ for kind in type(error).__mro__]
        if late and any("Timeout" in name for name in names):
            return "HANG"
        return f"{type(error).__name__} {time.monotonic() - began:.1f} s"
    return "ok" if value in (None, 7) or callable(value) else str(value)


def usable(pool: Library) -> str:
    """Says whether a pool does another task."""
    try:
        pool.again()
        handle = pool.submit(tasks.fine, 7)
    except BaseException as error:
        return f"no: {type(error).__name__}"
    found = outcome(pool, handle)
    return {"ok": "yes", "HANG": "HANG"}.get(found, f"no: {found}")


def killed(pool: Library) -> list[str]:
    """A worker is killed; six neighbours are fine."""
    before = [pool.submit(tasks.fine, 7) for _ in range(2)]
    victim = pool.submit(tasks.kill_self)
    after = [pool.submit(tasks.fine, 7) for _ in range(4)]
    patience = BILLIARD_PATIENCE if "billiard" in sys.argv else PATIENCE
    fate = outcome(pool, victim, patience)
    fine = sum(outcome(pool, handle) == "ok" for handle in before + after)
    return [fate, f"{fine}/6", usable(pool)]


def one(function: Callable[..., Any], *args: Any) -> Callable[[Library], list[str]]:
    """A single task, and whether the pool is good for another one."""

    def run(pool: Library) -> list[str]:
        try:
            fate = outcome(pool, pool.submit(function, *args))
        except BaseException as error:
            fate = f"{type(error).__name__} at submit"
        return [fate, usable(pool)]

    return run


def parent(*, busy: bool) -> Callable[[Library], list[str]]:
    """Tells who the workers are; the runner kills this process then."""

    def run(pool: Library) -> list[str]:
        handles = [pool.submit(tasks.pid) for _ in range(2)]
        pids = [pool.result(handle, PATIENCE) for handle in handles]
        if busy:
            handles = [pool.submit(tasks.sleep, 20.0) for _ in range(2)]
            time.sleep(0.5)
        print(json.dumps(sorted(set(pids))), flush=True)
        time.sleep(60)
        return []

    return run


def interrupted(pool: Library) -> list[str]:
    """Waits for busy workers; the runner presses Ctrl-C then."""
    handles = [pool.submit(tasks.sleep, 20.0) for _ in range(2)]
    print(json.dumps([]), flush=True)
    for handle in handles:
        pool.result(handle, 60)
    return []


CELLS: dict[str, Callable[[Library], list[str]]] = {
    "killed": killed,
    "unreadable": one(tasks.raise_unreadable),
    "exit": one(tasks.call_exit),
    "gives_lambda": one(tasks.give_lambda),
    "is_lambda": one(lambda: 7),
    "inside": one(tasks.open_pool, sys.argv[1] if len(sys.argv) > 1 else ""),
    "initializer": one(tasks.fine, 7),
    "parent_idle": parent(busy=False),
    "parent_busy": parent(busy=True),
    "ctrl_c": interrupted,
}


def main() -> None:
    library, cell = sys.argv[1:]
    multiprocessing.set_start_method("fork")
    initializer = tasks.failing_initializer if cell == "initializer" else None
    try:
        pool = LIBRARIES[library](initializer)
    except Exception as error:
        print(json.dumps([f"{type(error).__name__} when it is made"]), flush=True)
    else:
        print(json.dumps(CELLS[cell](pool)), flush=True)
    os._exit(0)  # whatever hangs at the end has nothing to say any more


if __name__ == "__main__":
    main()
