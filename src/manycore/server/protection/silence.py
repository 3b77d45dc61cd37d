"""When a silent client is disconnected, and when to look at it again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from manycore.base.traffic import Traffic


@dataclass(frozen=True, slots=True)
class LookAgain:
    """It may go on until then.

    Attributes:
        after: Seconds from now.
    """

    after: float


@dataclass(frozen=True, slots=True)
class Disconnect:
    """It has been silent for too long.

    Attributes:
        reason: What to tell people.
    """

    reason: str


Verdict: TypeAlias = LookAgain | Disconnect | None
"""None: it need not be looked at any more."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client may be silent. All times are in seconds; 0: for ever.

    Attributes:
        first_byte: Until the first byte, from whichever side.
        idle: Between two bytes.
    """

    first_byte: float
    idle: float

    def first_look(self) -> float | None:
        """How long after its beginning a connection is looked at first; None: never."""
        times = [time for time in (self.first_byte, self.idle) if time]
        return min(times, default=None)

    def judge(self, traffic: Traffic | None, unread: int, age: float) -> Verdict:
        """Judges a connection.

        Args:
            traffic: What the kernel knows of it.
            unread: Bytes that have come and that its handler has not read.
            age: Seconds since it began.

        Example:
            >>> Patience(first_byte=10, idle=60).judge(Traffic(4.0, started=True), 0, 20)
            LookAgain(after=56.0)
        """
        if traffic is None:
            return None
        if not traffic.started and self.first_byte:
            left = self.first_byte - age
            return LookAgain(left) if left > 0 else Disconnect("it never said anything")
        if not self.idle:
            return None
        # bytes that nobody has read: it waits for its handler, not its handler for it
        left = self.idle if unread else self.idle - traffic.silence
        return LookAgain(left) if left > 0 else Disconnect("it has been silent for too long")
