"""What a pool's rules want to be done. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from .desk import Batch


@dataclass(frozen=True, slots=True)
class Start:
    """Start a worker under this number, which was never used."""

    worker: int


@dataclass(frozen=True, slots=True)
class Send:
    """Send tasks to a worker."""

    worker: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class Look:
    """Collect what a worker has done, and say how far it is."""

    worker: int


@dataclass(frozen=True, slots=True)
class Recall:
    """Tell a worker not to begin tasks below this number."""

    worker: int
    below: int


@dataclass(frozen=True, slots=True)
class Lose:
    """A task ended with its worker."""

    worker: int
    lot: Any
    begun: bool = True


@dataclass(frozen=True, slots=True)
class Retire:
    """Tell a worker to end after what it has."""

    worker: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End a worker, and all that it started."""

    worker: int
    overtime: bool = False


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No worker can begin: fail what is queued with what the last one said."""

    worker: int


@dataclass(frozen=True, slots=True)
class Over:
    """All workers are gone, and no more will come."""


Action: TypeAlias = Start | Send | Look | Recall | Lose | Retire | Kill | GiveUp | Over
