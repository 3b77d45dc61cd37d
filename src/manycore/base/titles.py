"""What `ps` and `top` show of a process."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import module_from_spec


def set_title(title: str) -> None:
    """Names this process; without the optional library it keeps the name that it has."""
    try:
        setproctitle = _setproctitle()
    except ImportError:
        return
    setproctitle(f"manycore: {title}")


@cache
def _setproctitle() -> Callable[[str], None]:
    """Gives the library's function.

    The library itself imports `logging`, which takes longer than all else that a process begins
    with. Its extension is enough, where it is found.

    Raises:
        ImportError: When there is no such library.
    """
    package = PathFinder.find_spec("setproctitle")
    places = package and package.submodule_search_locations
    extension = PathFinder.find_spec("_setproctitle", places) if places else None
    if extension is None or extension.loader is None:
        from setproctitle import setproctitle

        return setproctitle
    module = module_from_spec(extension)
    extension.loader.exec_module(module)
    function: Callable[[str], None] = module.setproctitle
    return function
