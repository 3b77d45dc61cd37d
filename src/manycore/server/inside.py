"""What a worker knows of the server that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from manycore.errors import NotInServerError

from .place import SharedPlace


@dataclass(frozen=True, slots=True)
class Inside:
    """A worker's server.

    Attributes:
        shared: Where the state is that all of its workers share.
        offload_workers: How many processes work on what this worker offloads.
    """

    shared: SharedPlace
    offload_workers: int


_here: Inside | None = None


def enter(inside: Inside) -> None:
    """Says that this process is a worker, once and for all."""
    global _here  # noqa: PLW0603  # it is a fact of the process
    _here = inside


def ask(what: str, remedy: str) -> Inside:
    """Gives what this worker belongs to.

    Raises:
        NotInServerError: When this process is no worker.
    """
    if _here is None:
        raise NotInServerError(what, remedy)
    return _here
