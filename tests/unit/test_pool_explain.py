"""What is said of a pool's figures, and of how far a map is."""

from __future__ import annotations

import io

import pytest

from manycore.pool.explain import explain
from manycore.pool.progress import Plain, Silent, Terminal, line_of, open_bar
from manycore.pool.statistics import PoolStatistics, TimeSpent


def figures(done: int = 1000, lost: int = 0, **seconds: float) -> PoolStatistics:
    names = ("starting", "working", "pickling", "waiting", "idle")
    spent = {name: seconds.get(name, 0.0) for name in names}
    time_spent = TimeSpent(**spent, sending=0.1, collecting=0.2, elapsed=1.5)
    return PoolStatistics(2, 0, 0, done, 0, lost, 0, 2, time_spent, ())


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (figures(working=9, idle=1), "only more CPUs"),
        (figures(working=5, pickling=5), "much is sent"),
        (figures(done=10**6, working=0.5, pickling=0.5), "do more in each"),
        (figures(working=5, waiting=5), "does not keep up"),
        (figures(working=5, starting=5), "keep the pool"),
        (figures(done=3, working=5, idle=5), "cut them smaller"),
        (figures(working=5, idle=5), "begin with the longest"),
        (figures(done=0), "no task is done yet"),
        (figures(working=9, lost=1), "workers died"),
        (figures(working=7, idle=1.5, pickling=1.5), "nothing stands out"),
    ],
)
def test_advice_is_about_what_takes_the_time(found: PoolStatistics, says: str) -> None:
    """And only one thing is said where only one is the matter."""
    (advice,) = explain(found).advice
    assert says in advice


def test_the_worst_comes_first() -> None:
    """Several sentences are in the order of what they would give."""
    first, second = explain(figures(working=2, idle=3, starting=5)).advice
    assert "keep the pool" in first
    assert "longest" in second


def test_an_explanation_is_read_by_people() -> None:
    """Shares add up, and each is said in words."""
    found = explain(figures(working=3, pickling=1))
    assert sum(found.shares.values()) == 1
    lines = str(found).splitlines()
    assert lines[0] == "2 workers, 1.50 s: 1,000 tasks done, 0 of them failed"
    assert lines[1].split()[:2] == ["working", "75%"]
    assert "0.10 s to write tasks, 0.20 s to read results" in lines[6]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("t", 0, 0, 10, 1.0), "t: 0 of 10 (0%)"),
        (("t", 5, 1, 10, 1.0), "t: 5 of 10 (50%), 1 failed, 5.0/s, 1 s left"),
        (("t", 10, 0, 10, 2.0), "t: 10 of 10 (100%), 5.0/s, 2.0 s"),
        (("t", 2000, 0, None, 1.0), "t: 2,000, 2,000/s, 1.0 s"),
        (("t", 0, 0, 0, 0.0), "t: 0 of 0"),
        (("t", 1, 0, 2, 0.0), "t: 1 of 2 (50%)"),
    ],
)
def test_lines(arguments: tuple[str, int, int, int | None, float], line: str) -> None:
    """Short, and without what nobody can know yet."""
    assert line_of(*arguments) == line


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_fits_where_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar for a terminal, lines for a file, nothing when nobody wants it."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, file = FakeTerminal(), io.StringIO()
    bar = open_bar("work", 10, stream=terminal)
    assert isinstance(bar, Terminal)
    bar.show(4, 1)
    bar.close()
    assert "4/10" in terminal.getvalue()
    assert "1 failed" in terminal.getvalue()
    bar = open_bar("work", 10, stream=file)
    assert isinstance(bar, Plain)
    bar.show(1)
    assert file.getvalue() == ""
    bar.show(10)
    bar.close()
    bar.close()
    assert file.getvalue().startswith("work: 10 of 10 (100%)")
    assert file.getvalue().count("\n") == 1
    assert isinstance(open_bar("work", 10, quiet=True, stream=terminal), Silent)
    monkeypatch.setenv("NO_COLOR", "1")
    assert isinstance(open_bar("work", 10, stream=terminal), Silent)


def test_a_stream_that_is_gone_harms_nobody() -> None:
    """Progress is the least important thing of all."""
    file = io.StringIO()
    bar = open_bar("work", 10, stream=file)
    bar.show(10)
    file.close()
    bar.close()
