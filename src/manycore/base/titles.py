"""What `ps` and `top` show of a process."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.machinery import PathFinder
from importlib.util import module_from_spec


def set_title(title: str) -> None:
    """Names this process; without the optional library it keeps the name that it has."""
    try:
        name = _setter()
    except ImportError:
        return
    name(f"manycore: {title}")


def _setter() -> Callable[[str], None]:
    """Gives the library's function.

    The library itself imports `logging`, which takes longer than all else that a process begins
    with. Its extension is enough, where it is found.

    Raises:
        ImportError: When there is no such library.
    """
    global _set  # noqa: PLW0603  # it is loaded once
    if _set is None:
        package = PathFinder.find_spec("setproctitle")
        places = package and package.submodule_search_locations
        extension = PathFinder.find_spec("_setproctitle", places) if places else None
        if extension is None or extension.loader is None:
            _set = importlib.import_module("setproctitle").setproctitle
        else:
            module = module_from_spec(extension)
            extension.loader.exec_module(module)
            _set = module.setproctitle
    return _set


_set: Callable[[str], None] | None = None
