"""The facade tells the truth, and costs next to nothing."""

from __future__ import annotations

import inspect
import subprocess
import sys

import manycore


def test_all_names_are_there_and_nothing_else() -> None:
    """`__all__`, the lazy table and reality agree."""
    assert sorted(manycore.__all__) == sorted(manycore._HOMES)
    assert list(manycore.__all__) == sorted(manycore.__all__)
    for name in manycore.__all__:
        assert getattr(manycore, name).__name__ == name
        assert name in dir(manycore)


def test_public_names_are_documented_with_an_example() -> None:
    """Each says what it gives; functions and what holds a server show it."""
    for name in manycore.__all__:
        documented = inspect.getdoc(getattr(manycore, name))
        assert documented, name
        if name in {"Server", "serve", "cpu_count", "SettingsError"}:
            assert ">>>" in documented, name


def test_importing_it_imports_no_subject() -> None:
    """`import manycore` brings no room of the house."""
    code = "import sys, manycore; print([m for m in sys.modules if m.startswith('manycore.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As in every module."""
    assert not hasattr(manycore, "nonsense")
    assert not hasattr(manycore.pool, "nonsense")
    assert manycore.__version__ == "0.1.0"


def test_programs_that_import_from_multiprocessing_pool() -> None:
    """They find the same names in manycore.pool; importing that alone loads no pool."""
    code = (
        "import sys, manycore.pool; print([m for m in sys.modules if m.startswith('manycore.p')])\n"
        "from manycore.pool import Pool, ThreadPool; import manycore\n"
        "print(Pool is manycore.Pool, ThreadPool is manycore.ThreadPool)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['manycore.pool']\nTrue True\n"
