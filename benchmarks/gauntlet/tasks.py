"""What the gauntlet's workers are given to do."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from typing import Any


def fine(value: int) -> int:
    time.sleep(0.2)
    return value


def pid() -> int:
    time.sleep(0.3)  # so that both workers have one
    return os.getpid()


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def kill_self() -> None:
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGKILL)


class TwoWordsError(Exception):
    """An exception that pickle can write and cannot read."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def raise_unreadable() -> None:
    raise TwoWordsError("cannot", "be read")


def call_exit() -> None:
    sys.exit(3)


def give_lambda() -> Any:
    return lambda: 5


def open_pool(library: str) -> int:
    """Uses a pool within a pool."""
    pool = importlib.import_module("libraries").LIBRARIES[library]()
    try:
        value: int = pool.result(pool.submit(fine, 7), 4.0)
    finally:
        pool.end()
    return value


def failing_initializer() -> None:
    raise RuntimeError("no model to load")
