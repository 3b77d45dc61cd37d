"""From a target's text to the object that it names."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
import traceback
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from manycore.errors import TargetError

HOW_TO_WRITE = "write module:function or path/to/file.py:function"


def load(target: str) -> Any:
    """Imports what a target names.

    Args:
        target: `module:attribute` or `path/to/file.py:attribute`; the attribute may be dotted.

    Raises:
        TargetError: When there is no such thing, or its own code fails.

    Example:
        >>> load("os:path.join")("a", "b")
        'a/b'
    """
    place, colon, attribute = target.rpartition(":")
    if not (colon and place and attribute):
        raise TargetError(target, "it names no function", HOW_TO_WRITE)
    try:
        module = _load_file(target, Path(place)) if _is_path(place) else _import(target, place)
        return _look_up(target, module, attribute)  # a module may import what it is asked for
    except TargetError:
        raise
    except (Exception, SystemExit) as error:
        _fail_to_import(target, error)


def load_module(place: str) -> ModuleType:
    """Imports `package.module` or `path/to/file.py`.

    Raises:
        TargetError: When there is no such thing, or its own code fails.
    """
    try:
        return _load_file(place, Path(place)) if _is_path(place) else _import(place, place)
    except TargetError:
        raise
    except (Exception, SystemExit) as error:
        _fail_to_import(place, error)


def _is_path(place: str) -> bool:
    return place.endswith(".py") or os.sep in place


def _import(target: str, name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise TargetError(target, f"{name!r} is no module's name", HOW_TO_WRITE)
    _search_first(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(f"{missing}."):
            raise  # the module is there, and imports something that is not
        remedy = f"check the name; it was looked for in {Path.cwd()} and where Python looks"
        raise TargetError(target, f"there is no module {missing!r}", remedy) from None


def _load_file(target: str, path: Path) -> ModuleType:
    if not path.is_file():
        problem = "it is a directory" if path.is_dir() else "there is no such file"
        remedy = f"check the path; it starts from {Path.cwd()}"
        raise TargetError(target, problem, remedy)
    path = path.resolve()
    _search_first(path.parent)
    name = path.stem
    if name in sys.modules or name in sys.stdlib_module_names or not name.isidentifier():
        # the file must not replace another module
        name = f"manycore_target_{zlib.crc32(os.fsencode(path)):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(target, "it is no Python file", "name a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _search_first(directory: Path) -> None:
    """Lets the target import its neighbours, as a script does."""
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))


def _look_up(target: str, module: ModuleType, attribute: str) -> Any:
    found: Any = module
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            holder = getattr(found, "__name__", type(found).__name__)
            public = [entry for entry in dir(found) if not entry.startswith("_")]
            close = difflib.get_close_matches(name, public, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else "check the name"
            raise TargetError(target, f"{holder!r} has no {name!r}", remedy) from None
    return found


def _fail_to_import(target: str, error: BaseException) -> NoReturn:
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename:
        place, said = f"{error.filename}:{error.lineno}", error.msg
    else:
        ours = [f for f in frames if "importlib" not in f.filename and f.filename != __file__]
        place = f"{ours[-1].filename}:{ours[-1].lineno}" if ours else "its import"
        said = " ".join(str(error).split())
    problem = f"importing it raised {type(error).__name__}{f': {said}' if said else ''} ({place})"
    details = "".join(traceback.format_exception(error))
    raise TargetError(target, problem, "correct that, then start again", details) from error
