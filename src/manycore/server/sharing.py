"""State that all workers of a server share: `manycore.shared`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

from . import inside

if TYPE_CHECKING:
    from manycore.state.manager import Manager


class _Shared:
    """The server's manager, made when it is first used."""

    def __init__(self) -> None:
        self.__name__ = "shared"
        self._lock = threading.Lock()
        self._manager: Manager | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # nobody asks a manager for those, but pickle asks everything
            raise AttributeError(name)
        return getattr(self._get(), name)

    def _get(self) -> Manager:
        if self._manager is None:
            remedy = "make a manycore.Manager of your own"
            place = inside.ask("manycore.shared", remedy).shared
            from manycore.state.manager import Manager

            with self._lock:
                if self._manager is None:
                    self._manager = Manager.attach(place.path())
        return self._manager

    def __repr__(self) -> str:
        return "<manycore.shared>"


#: A `Manager` that belongs to the server: the same in each of its workers, and after each reload.
shared = cast("Manager", _Shared())
