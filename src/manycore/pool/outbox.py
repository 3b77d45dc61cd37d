"""Results on their way back: the worker's side.

A result is left in the memory that pool and worker share, before the slot that makes it known. One
that is too long for that is a message, and what is big in it travels beside that.
"""

from __future__ import annotations

import pickle
from typing import Any, Final

from manycore.base import passing
from manycore.base.channel import Channel
from manycore.base.failures import Failure
from manycore.base.segments import Segments

from . import slate, wire
from .freight import BIG, Loader
from .slate import Slate

OUR_FRAMES: Final = 1  # of a traceback: the worker's, which tell the reader nothing


class PackedError(Exception):
    """An error that was packed elsewhere.

    Args:
        data: A pickled Failure.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


class Outbox:
    """Where a worker leaves results.

    Args:
        channel: To the pool.
        memory: That both share.

    Attributes:
        segments: The files in which big results are.
    """

    def __init__(self, channel: Channel, memory: Slate) -> None:
        self.segments = Segments("result")
        self._loader = Loader(self.segments)
        self._channel = channel
        self._cells = memory.cells
        self._slots = memory.slots
        self._area = memory.area
        self._used = 0  # bytes of the area
        self._cargo = passing.Cargo(big=BIG)  # one for all: making it takes longer than using it

    def keep(self, number: int, value: Any) -> None:
        """Leaves a result."""
        kind = type(value)
        if value is None:
            cell = slate.NONE
        elif kind is int and -slate.LARGEST < value < slate.LARGEST:
            cell = value or slate.ZERO
        elif kind is bool:
            cell = slate.TRUE if value else slate.FALSE
        else:
            try:
                data = _dumps(value, self._cargo)
                self._leave(number, slate.BYTES, data, self._cargo.views)
            except BaseException as error:
                self.fail(number, error)
            finally:
                if self._cargo.buffers:
                    self._cargo.empty()
            return
        self._slots[number & slate.MASK] = cell

    def fail(self, number: int, error: BaseException) -> None:
        """Leaves an error in the place of a result."""
        data = error.data if isinstance(error, PackedError) else pack_error(error)
        try:
            self._leave(number, slate.FAILURE, data, [])
        except BrokenPipeError:
            raise
        except OSError as problem:
            self._leave(number, slate.FAILURE, pack_error(problem), [])

    def _leave(self, number: int, kind: int, data: bytes, buffers: list[memoryview]) -> None:
        size = len(data)
        if self._cells[slate.COLLECTED] >= number:
            self._used = 0  # all that is in the area was taken
        end = self._used + size
        if size > slate.INLINE or end > slate.AREA_BYTES or buffers:
            head = wire.RESULT + wire.RESULT_HEAD.pack(number, kind)
            try:
                self._channel.send(*self._loader.load(head, data, buffers))
            except BrokenPipeError:
                raise
            except OSError as error:
                problem = f"no room for what the task returned: {error.strerror}"
                raise OSError(error.errno, problem) from None
            self.segments.settle()
            cell = slate.special(slate.MESSAGE)
        else:
            self._area[self._used : end] = data
            where = self._used << slate.LENGTH_BITS | size
            cell = slate.special(kind, where)
            self._used = end
        self._slots[number & slate.MASK] = cell


def pack_error(error: BaseException) -> bytes:
    """Writes an error."""
    return pickle.dumps(Failure.of(error, dumps=passing.dumps_result, hidden=OUR_FRAMES))


def _dumps(value: Any, cargo: passing.Cargo) -> bytes:
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL, buffer_callback=cargo.take_buffer)
    except Exception:  # by value it may work, or say better why not
        cargo.empty()
        return passing.dumps_result(value, cargo)
