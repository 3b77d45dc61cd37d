"""What the benchmarks' tasks do."""

from __future__ import annotations

from typing import Any


def noop(_: object = None) -> None:
    pass


def itself(value: Any) -> Any:
    return value


def total(array: Any) -> float:
    return float(array.sum())


def element(array: Any, index: int) -> float:
    return float(array[index])
