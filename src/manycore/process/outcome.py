"""What a process delivered, or how it failed to."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from manycore.base import signals
from manycore.base.birth import HEAD_BYTES
from manycore.base.failures import Failure
from manycore.base.lifetime import exit_in_words

if TYPE_CHECKING:
    from manycore.base.child import ChildHandle
    from manycore.base.worker_lost import WorkerLost

# The byte behind the head of an outcome's message: what the rest of it is.
VALUE: Final = b"v"  #: what the target returned, as bytes
FAILURE: Final = b"f"  #: a Failure, as bytes: what it raised
UNSENDABLE: Final = b"u"  #: a Failure: what it returned cannot be sent
NOTHING: Final = b"n"  #: it called for an exit


class Outcome:
    """What a process delivered, as its parent keeps it.

    Args:
        kind: One of the bytes above.
        data: What came with it.
        lost: Makes the error of a process that delivered nothing.
    """

    def __init__(
        self, kind: bytes, data: bytes, lost: Callable[[], WorkerLost] | None = None
    ) -> None:
        self._kind = kind
        self._data = data
        self._lost = lost
        self._value: Any = None
        self._read = False

    @classmethod
    def of(cls, child: ChildHandle, name: str, oom_kills: int | None) -> Outcome:
        """Makes up the account of a child that has delivered, or has ended without."""
        if child.outcome is not None:
            kind = child.outcome[HEAD_BYTES : HEAD_BYTES + 1]
            if kind != NOTHING:
                return cls(kind, child.outcome[HEAD_BYTES + 1 :])
        with signals.importing():
            from manycore.base import oom
            from manycore.base.worker_lost import WorkerLost  # 15 ms that most programs never need

        code = child.wait()
        assert code is not None
        if not child.seen and child.outcome is None:
            how, reason = "ended", "nobody saw how: the template process had ended before"
            return cls(NOTHING, b"", partial(WorkerLost, child.pid, how, name, reason))
        how = exit_in_words(code).removeprefix("was ")
        reason = oom.verdict(code, oom_kills) if code < 0 else "without a result"
        return cls(NOTHING, b"", partial(WorkerLost, child.pid, how, name, reason, code))

    def give(self) -> Any:
        """Gives the value, or raises what stands in its place; the same each time."""
        if self._lost is not None:
            raise self._lost()  # a new one: one that is kept keeps those it was raised through
        if self._kind != VALUE:
            failure: Failure = pickle.loads(self._data)  # noqa: S301  # our child's
            raise failure.rebuild()
        if not self._read:
            self._value = pickle.loads(self._data)  # noqa: S301  # our child's
            self._read, self._data = True, b""
        return self._value
