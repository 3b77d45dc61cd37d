"""How long a task may take and how often it is tried. Pure."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

GRACE: Final = 0.5  # seconds between the exception inside a task and the end of its worker


class Limits(NamedTuple):
    """What a task may do.

    Attributes:
        timeout: Seconds until `TaskTimeout` is raised inside it; None: never.
        grace: Seconds more until its worker is killed.
        retries: How often it is tried again.
        retry_on: With which failures.
    """

    timeout: float | None = None
    grace: float = GRACE
    retries: int = 0
    retry_on: tuple[type[BaseException], ...] = (Exception,)

    @property
    def hard(self) -> float | None:
        """Seconds until its worker is killed."""
        return None if self.timeout is None else self.timeout + self.grace

    def may_try_again(self, tried: int, error: BaseException) -> bool:
        """Whether a task that was tried so often, and has failed like this, is tried again.

        Example:
            >>> Limits(retries=1).may_try_again(1, OSError())
            True
            >>> Limits(retries=1).may_try_again(2, OSError())
            False
        """
        return tried <= self.retries and isinstance(error, self.retry_on)


NO_LIMITS: Final = Limits()


def limits_of(
    timeout: float | None = None,
    retries: int = 0,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    grace: float = GRACE,
) -> Limits:
    """Checks what a user asks for.

    Raises:
        ValueError: For a number that cannot be.
    """
    if timeout is not None and not 0 < timeout < math.inf:
        raise ValueError(f"timeout must be a positive number of seconds, not {timeout!r}")
    if not 0 <= grace < math.inf:
        raise ValueError(f"grace must be a number of seconds from 0, not {grace!r}")
    if retries < 0:
        raise ValueError(f"retries must be a number from 0, not {retries!r}")
    kinds = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    limits = Limits(timeout, grace, retries, kinds)
    return NO_LIMITS if limits == NO_LIMITS else limits
