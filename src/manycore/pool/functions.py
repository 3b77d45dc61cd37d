"""The functions that workers know by number.

A plain function that can be imported is written once for the whole pool. One that cannot is written
anew for each batch of calls, as it is at that moment, and for each map once. What has a state, a
partial or a bound method, is written with each call, and for each map once.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from itertools import count
from types import BuiltinFunctionType, FunctionType
from typing import Any, Final

from manycore.base import passing

from .freight import BIG, Kept
from .shared import Shelf

REMEMBERED: Final = 256  # functions that are held
PLAIN: Final = (FunctionType, BuiltinFunctionType)


class Known:
    """A function that workers may be sent once.

    Attributes:
        function: Held, so that its id is not another's.
        number: What it is called by.
        data: It, as bytes.
        kept: What is big in it.
        shared: The shared objects that it refers to.
        refers: Whether it holds descriptors: then it is written for each worker.
        by_value: Whether its code is in the data.
    """

    def __init__(self, function: Any, number: int, shelf: Shelf) -> None:
        """Writes it.

        Raises:
            SendError: When it cannot be sent.
            OSError: When there is no room for what is big in it.
        """
        cargo = passing.Cargo(big=BIG)
        self.function = function
        self.number = number
        self.data = passing.dumps(function, cargo, name="the function")
        self.shared = cargo.shared
        self.refers = bool(cargo.fds)
        self.by_value = passing.needs_cloudpickle(self.data) or type(function) not in PLAIN
        self.kept: Kept | None = shelf.keep([*cargo.views]) if cargo.buffers else None

    @property
    def is_light(self) -> bool:
        """Whether it is nothing to be remembered for long."""
        return self.kept is None and not self.shared and len(self.data) < BIG


class Functions:
    """One for the whole pool.

    Attributes:
        gone: Numbers of functions that workers need not know any more.
    """

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.gone: deque[int] = deque()
        self._by_id: dict[int, Known] = {}
        self._numbers = count()
        self._lock = threading.Lock()

    def known(self, function: Any) -> Known | None:
        """Gives a plain function's number and bytes; None when it is to be sent with its call.

        Raises:
            SendError: When it cannot be sent.
        """
        with self._lock:
            found = self._by_id.get(id(function))
            if found is not None and not found.by_value:
                return found
            known = Known(function, next(self._numbers), self.shelf)
            if found is not None and found.data == known.data and known.is_light:
                return found
            if not known.is_light:
                return None
            if len(self._by_id) >= REMEMBERED:
                self._by_id.clear()
            self._by_id[id(function)] = known
            return known

    def for_job(self, job: Any) -> Known:
        """Gives a map's function, as it was when its first batch was written.

        Raises:
            SendError: When it cannot be sent.
            OSError: When there is no room for what is big in it.
        """
        if job.known is None:
            function = job.function
            if type(function) in PLAIN and passing.is_importable(function.__module__):
                job.known = self.known(function)
            if job.known is None:
                job.known = Known(function, next(self._numbers), self.shelf)
                weakref.finalize(job.known, self.gone.append, job.known.number).atexit = False
        known: Known = job.known
        return known
