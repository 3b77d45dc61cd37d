"""How long a task may take and how often it is tried. Pure."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from .checks import seconds, whole

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
        ValueError: For what cannot be.
    """
    kinds = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    if not all(_is_error(kind) for kind in kinds):
        raise ValueError(
            f"retry_on must be an exception class, or a tuple of some, not {retry_on!r}"
        )
    limits = Limits(
        None if timeout is None else seconds("timeout", timeout, zero=False),
        seconds("grace", grace, zero=True),
        whole("retries", retries, 0),
        kinds,
    )
    return NO_LIMITS if limits == NO_LIMITS else limits


def _is_error(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)
