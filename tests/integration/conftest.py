"""What tests with real processes ask for by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from manycore import Manager
from state_support import Start, children


@pytest.fixture
def manager() -> Iterator[Manager]:
    """A private manager."""
    with Manager() as manager:
        yield manager


@pytest.fixture
def start() -> Iterator[Start]:
    """Forks processes that run functions; they are gone at the end."""
    with children() as start:
        yield start
