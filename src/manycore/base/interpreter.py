"""A fresh interpreter: how a process without this one's threads, modules and locks begins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SOURCE = str(Path(__file__).parents[2])  # where the package is found


def command(module: str, *arguments: int) -> list[str]:
    """Gives the command that runs `main(*arguments)` of a module in a fresh interpreter.

    The interpreter has our flags (-X, -W, -O, …), and finds this very package.
    """
    call = ", ".join(map(str, arguments))
    code = f"import sys; sys.path.insert(0, {_SOURCE!r}); from {module} import main; main({call})"
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
    return [sys.executable, *flags, "-c", code]
