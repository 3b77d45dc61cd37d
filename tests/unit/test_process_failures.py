"""Exceptions on their way across a process border."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from manycore.base.failures import Failure, RemoteTraceback
from manycore.base.worker_lost import WorkerLost
from manycore.errors import RemoteError, SendError


class PickyError(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


class TwoFacedError(Exception):
    def __reduce__(self) -> Any:
        return str, ("no exception at all",)


def caught(error: BaseException) -> Failure:
    try:
        raise error
    except BaseException as again:
        return pickle.loads(pickle.dumps(Failure.of(again)))  # type: ignore[no-any-return]


class TestFailure:
    @pytest.mark.parametrize(
        "error", [ValueError("x", 1), KeyError("k"), SystemExit(3), OSError(2, "gone", "file")]
    )
    def test_what_can_be_rebuilt_is(self, error: BaseException) -> None:
        """Type, arguments and attributes arrive, and the cause is the traceback there."""
        again = caught(error).rebuild()
        assert type(again) is type(error)
        assert again.args == error.args
        assert isinstance(again.__cause__, RemoteTraceback)
        assert "raise error" in again.__cause__.text

    @pytest.mark.parametrize("error", [PickyError(1, 2), TwoFacedError("x"), ValueError(lambda: 1)])
    def test_what_cannot_is_told(self, error: BaseException) -> None:
        """What cannot be rebuilt arrives as a RemoteError with its name, arguments and text."""
        again = caught(error).rebuild()
        assert isinstance(again, RemoteError)
        assert again.type_name.endswith(type(error).__name__)
        assert again.arguments == tuple(map(repr, error.args))
        assert type(error).__name__ in again.traceback

    def test_what_fails_on_this_side_only(self) -> None:
        """Bytes that cannot be read here, of a module that is only there say, are no new error."""
        failure = Failure("there.Gone", ("1",), "text", b"cthere\nGone\n.")
        again = failure.rebuild()
        assert isinstance(again, RemoteError)
        assert str(again) == "there.Gone(1)"

    def test_each_rebuild_is_a_new_exception(self) -> None:
        """Raising it twice does not pile up tracebacks."""
        failure = caught(ValueError("x"))
        assert failure.rebuild() is not failure.rebuild()

    @pytest.mark.parametrize(
        "error",
        [
            RemoteError("a.B", ("1", "2"), "text"),
            SendError("args[0]", "no"),
            WorkerLost(1, "exited 3", "x", "why", 3),
        ],
    )
    def test_our_own_errors_travel(self, error: Exception) -> None:
        """Manycore's errors are rebuilt with their facts, from a process in a process say."""
        again = caught(error).rebuild()
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert {**vars(again), "__notes__": 0} == {**vars(error), "__notes__": 0}
