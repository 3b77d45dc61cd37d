"""Where a pool's time went, in words, and what to change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from .statistics import PoolStatistics, statistics_of

_MUCH: Final = 0.2  # of the workers' time: less is not worth a change
_GOOD: Final = 0.8  # of the workers' time inside functions: more cannot be had
_MUCH_SENT: Final = 50e-6  # seconds of pickling a task: it is big; below, the task is short
_FEW: Final = 8  # tasks for each worker: with fewer, one long one is felt


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `pool.explain()` gives; as text it is what is printed.

    Attributes:
        shares: Parts of the workers' time, by what it was spent on; they add up to 1.
        advice: What to change, a sentence each; most important first.
        statistics: What it was made of.
    """

    shares: dict[str, float]
    advice: tuple[str, ...]
    statistics: PoolStatistics

    def __str__(self) -> str:
        found = self.statistics
        words = [f"{found.done:,} tasks done", f"{found.failed:,} of them failed"]
        words += [f"{found.lost:,} lost"] if found.lost else []
        words += [f"{found.retried:,} tried again"] if found.retried else []
        spent = found.seconds
        lines = [f"{found.workers} workers, {spent.elapsed:.2f} s: {', '.join(words)}"]
        for name, share in self.shares.items():
            lines.append(f"  {name:8} {share:4.0%}  {_MEANINGS[name]}")
        lines.append(
            f"  in this program: {spent.sending:.2f} s to write tasks, "
            f"{spent.collecting:.2f} s to read results"
        )
        lines += [f"- {sentence}" for sentence in self.advice]
        return "\n".join(lines)


_MEANINGS: Final = {
    "working": "inside functions",
    "pickling": "tasks and results on their way: read, written, sent",
    "waiting": "without a task while some were queued",
    "starting": "workers that were being born",
    "idle": "without a task, and none was queued",
}


def print_explanation(engine: Any) -> Explanation:
    """Explains an engine's figures on standard output; gives what it printed."""
    explanation = explain(statistics_of(engine))
    print(explanation)  # noqa: T201  # this is what it is for
    return explanation


def explain(found: PoolStatistics) -> Explanation:
    """Explains a pool's figures."""
    total = found.seconds.workers
    shares = {name: getattr(found.seconds, name) / total if total else 0.0 for name in _MEANINGS}
    return Explanation(shares, tuple(_advice(found, shares)), found)


def _advice(found: PoolStatistics, shares: dict[str, float]) -> list[str]:
    if not found.done:
        return ["no task is done yet"]
    each = found.seconds.working / found.done
    rules = {
        "pickling": (
            f"tasks take {each * 1e6:.1f} µs each, about what it costs to send them: "
            "do more in each"
            if found.seconds.pickling / found.done < _MUCH_SENT
            else "much is sent, or workers import much for their first task: give tasks less, a "
            "path in place of what is in the file say, return less, or manycore.preload()"
        ),
        "waiting": "the program does not keep up with sending: make arguments smaller, or make "
        "them in the workers",
        "starting": "keep the pool and use it again, or let workers be born faster: "
        "manycore.preload() what they import",
        "idle": (
            "there are few tasks, and the longest decide when all is done: cut them smaller"
            if found.done < _FEW * found.workers
            else "nothing was queued for a part of the time: items come slowly, or one long task "
            "came last; begin with the longest"
        ),
    }
    worst = sorted(rules, key=shares.__getitem__, reverse=True)
    advice = [rules[name] for name in worst if shares[name] > _MUCH]
    if found.lost:
        advice.append("workers died: the errors of their tasks say how; see `reason` and `stack`")
    if not advice and shares["working"] >= _GOOD:
        advice.append("the workers work nearly all the time: only more CPUs, or faster code, help")
    return advice or ["nothing stands out"]
