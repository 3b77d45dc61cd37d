"""Functions for `manycore map`."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any


def square(text: str) -> int:
    return int(text) ** 2


def counted(text: str) -> int:
    """Squares a number, and says in a file that it did."""
    with open(os.environ["COUNTED"], "a") as file:
        file.write(f"{text}\n")
    time.sleep(float(os.environ.get("SECONDS_EACH", "0.002")))
    return int(text) ** 2


def same(value: Any) -> Any:
    return value


def troubles(text: str) -> str:
    """Does what it is told."""
    match text:
        case "raise":
            raise ValueError("no\nand no")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(60)
        case "object":
            return object()  # type: ignore[return-value]
    return text


def late_first(text: str) -> str:
    if text == "0":
        time.sleep(1)
    return text


def modules(text: str) -> list[str]:
    del text
    return sorted(sys.modules)


def big(text: str) -> str:
    return text * 2000


no_function = 5
