"""The short form of the benchmark that kills workers at random."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "pool" / "kill_workers.py"


@pytest.fixture
def kill_workers(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("kill_workers", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "kill_workers", module)
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    spec.loader.exec_module(module)
    return module


def test_workers_killed_at_random(kill_workers: Any) -> None:
    """Each result is right or lost, nobody waits for ever, and nothing is left open."""
    report = kill_workers.run(100)
    assert report.problems(longest_wait=10.0) == []  # a busy machine is slow to start workers
    assert report.kills >= 100
    assert report.done > report.lost > 0
