"""An exception across a process border, with its traceback.

Guarantees: every exception can be sent, and reading it never raises another one. What cannot be
rebuilt on the other side, because its constructor does not take its own `args` say, arrives as a
`RemoteError` with everything that a person would want to know of it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from manycore.errors import RemoteError


class RemoteTraceback(Exception):  # noqa: N818  # it is no error: it is where the error was raised
    """The cause of an exception that was raised in another process: its traceback, as text there.

    Args:
        text: The traceback, as Python prints it.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


class Failure(NamedTuple):
    """An exception, ready to travel.

    Attributes:
        type_name: Its class with its module, as a traceback shows it.
        arguments: The repr of each of its `args`.
        text: Its traceback.
        data: The exception as bytes; None when it could not be replayed where it was raised.
    """

    type_name: str
    arguments: tuple[str, ...]
    text: str
    data: bytes | None

    @classmethod
    def of(
        cls,
        error: BaseException,
        *,
        dumps: Callable[[Any], bytes] = pickle.dumps,
        hidden: int = 0,
    ) -> Failure:
        """Packs an exception that was caught.

        Args:
            error: The exception.
            dumps: How objects become bytes.
            hidden: How many of the outermost frames are ours and tell the reader nothing.
        """
        trace = error.__traceback__
        for _ in range(hidden):
            trace = trace.tb_next if trace is not None and trace.tb_next is not None else trace
        kind = type(error)
        return cls(
            type_name=f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."),
            arguments=tuple(map(_safe_repr, error.args)),
            text=_safe_text(error, trace),
            data=_replayable(error, dumps),
        )

    def rebuild(self) -> BaseException:
        """Gives the exception, with the remote traceback as its cause."""
        error: BaseException = RemoteError(self.type_name, self.arguments, self.text)
        if self.data is not None:
            with suppress(Exception):
                loaded = pickle.loads(self.data)  # noqa: S301  # from a process of our own
                error = loaded if isinstance(loaded, BaseException) else error
        error.__cause__ = RemoteTraceback(self.text)
        return error


def _replayable(error: BaseException, dumps: Callable[[Any], bytes]) -> bytes | None:
    """Writes an exception and reads it back here, where a failure hurts nobody."""
    try:
        data = dumps(error)
        again = pickle.loads(data)  # noqa: S301  # just written
    except Exception:
        return None
    return data if type(again).__qualname__ == type(error).__qualname__ else None


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"


def _safe_text(error: BaseException, trace: Any) -> str:
    import traceback  # most processes never fail

    try:
        return "".join(traceback.format_exception(type(error), error, trace))
    except Exception:  # a __str__ or __repr__ of the user's may raise anything
        return "".join([*traceback.format_tb(trace), f"{type(error).__qualname__}\n"])
