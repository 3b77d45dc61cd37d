"""What the messages between a pool and its workers begin with."""

from __future__ import annotations

import struct
from typing import Final

# The first byte of a message to a worker.
FUNCTION: Final = b"f"  #: remember a function under a number
SHARED: Final = b"o"  #: remember a shared object under a number
FORGET: Final = b"g"  #: functions and files: a pickled pair of lists of numbers; None: all
UNIFORM: Final = b"u"  #: one function, arguments in one pickle
SEPARATE: Final = b"s"  #: a pickle a call
RETURNED: Final = b"t"  #: nobody here looks at these files of yours any more
END: Final = b"q"  #: end, after what came before

# The first byte of a message from a worker.
READY: Final = b"r"  #: the initializer has run
BROKEN: Final = b"b"  #: the initializer has failed; a pickled Failure
ANSWER: Final = b"a"  #: through with a message: how many tasks, in how many seconds; RETURNED too
SKIPPED: Final = b"k"  #: a recalled task was not begun
RESULT: Final = b"l"  #: a result that is not in the shared memory: number, kind
UNREADABLE: Final = b"x"  #: a uniform message could not be read: send it one by one

UNIFORM_HEAD: Final = struct.Struct("=qqqd?")  # first number, count, function, timeout or 0, star
SEPARATE_HEAD: Final = struct.Struct("=qq")  # first number, count
NUMBER: Final = struct.Struct("=q")  # of a function, a file, a task, a batch's first task
ANSWER_BODY: Final = struct.Struct("=qd")
RESULT_HEAD: Final = struct.Struct("=qB")

INSIDE: Final = -1  # in the place of a function's number: it is written with the call
FAILED: Final = -2  # the call could not be written; the rest is a pickled Failure


def numbers(values: list[int]) -> bytes:
    """Writes a list of numbers.

    Example:
        >>> read_numbers(numbers([1, 2]), 0)
        (1, 2)
    """
    return struct.pack(f"={len(values)}q", *values)


def read_numbers(data: bytes, start: int) -> tuple[int, ...]:
    """Reads what `numbers` wrote."""
    return struct.unpack_from(f"={(len(data) - start) // 8}q", data, start)
