"""Reloads and kills under load, in short; the long form is a benchmark."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STORMS = Path(__file__).parents[2] / "benchmarks" / "server" / "storms.py"


@pytest.mark.parametrize("combination", [("threads", "tls"), ("protocol", "tls"), ("asgi", "unix")])
def test_only_the_killed_break_anything(combination: tuple[str, str]) -> None:
    """A reload refuses and breaks no connection, and a kill breaks only those of the victim."""
    done = subprocess.run(
        [sys.executable, str(STORMS), *combination, "reloads=2", "kills=2"],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 reloads: " in done.stdout
    assert "0 refused, 0 broken" in done.stdout
