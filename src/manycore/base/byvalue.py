"""Writes objects whose code the other side cannot import. A module of its own: cloudpickle takes
as long to import as everything else that a child needs.
"""  # noqa: D205

from __future__ import annotations

import marshal
import pickle
from collections import ChainMap
from multiprocessing.reduction import ForkingPickler
from types import CodeType, FunctionType
from typing import IO, Any, ClassVar

import cloudpickle

from .passing import is_importable


def _reduce_code(code: CodeType) -> tuple[Any, ...]:
    """Both sides run the same interpreter, so code can travel as in a .pyc file. It keeps the name
    of its file, which cloudpickle replaces, and so its lines are shown in a traceback.
    """  # noqa: D205
    try:
        return marshal.loads, (marshal.dumps(code),)
    except ValueError:  # a constant that no compiler puts there
        return cloudpickle.Pickler.dispatch_table[CodeType](code)  # type: ignore[no-any-return]


class ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle that also knows what `multiprocessing` can send."""

    dispatch_table: ClassVar[Any] = ChainMap(
        {CodeType: _reduce_code},
        ForkingPickler._extra_reducers,  # type: ignore[attr-defined]  # noqa: SLF001
        cloudpickle.Pickler.dispatch_table,
    )

    def __init__(
        self,
        file: IO[bytes],
        protocol: int = pickle.HIGHEST_PROTOCOL,
        fix_imports: bool = True,  # noqa: FBT001, FBT002  # `pickle.Pickler`'s own order
        buffer_callback: Any = None,
    ) -> None:
        del fix_imports
        super().__init__(file, protocol=protocol, buffer_callback=buffer_callback)

    def reducer_override(self, value: Any) -> Any:
        """Sends by value what is in no file that the other side could import."""
        if isinstance(value, FunctionType) and not is_importable(value.__module__):
            return self._dynamic_function_reduce(value)
        if isinstance(value, type) and not is_importable(value.__module__):
            return cloudpickle.cloudpickle._dynamic_class_reduce(value)  # noqa: SLF001
        return super().reducer_override(value)
