"""When a worker has lived long enough. Pure.

A worker that asks for a successor goes on until that is ready: see the rules of supervision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LOOK_EVERY: Final = 5.0  # seconds between two looks at a busy worker's memory
JITTER: Final = 0.1  # of its age, by which a worker may end earlier


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long one worker may live. Nothing bounds what is 0.

    Attributes:
        requests: Connections.
        age: Seconds.
        rss: Bytes of memory.
    """

    requests: int
    age: float
    rss: int

    @classmethod
    def draw(
        cls, requests: int, requests_jitter: int, age: float, rss: int, luck: float
    ) -> Lifetime:
        """Gives a worker its own, so that they do not all end at once.

        Args:
            requests: Connections at least.
            requests_jitter: Connections that may come on top.
            age: Seconds at most.
            rss: Bytes of memory.
            luck: From 0 to 1.

        Example:
            >>> Lifetime.draw(1000, 100, 60.0, 0, luck=0.5)
            Lifetime(requests=1050, age=57.0, rss=0)
        """
        more = round(requests_jitter * luck) if requests else 0
        return cls(requests + more, age * (1 - JITTER * luck), rss)

    def reason_to_end(self, requests: int, age: float, rss: int) -> str:
        """Says why a worker shall be renewed; nothing: it goes on.

        Example:
            >>> Lifetime(requests=10, age=0.0, rss=0).reason_to_end(10, 5.0, 0)
            'it has served 10 connections'
        """
        if self.requests and requests >= self.requests:
            return f"it has served {requests} connections"
        if self.age and age >= self.age:
            return f"it has lived for {age:.0f} s"
        if self.rss and rss >= self.rss:
            return f"it has {rss >> 20} MiB of memory"
        return ""
