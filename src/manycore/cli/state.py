"""`manycore state ls | get | dump | clear`."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from manycore.errors import StateError

if TYPE_CHECKING:
    from manycore.state.manager import Manager
    from manycore.state.proxy import Proxy

_path = click.option(
    "-p",
    "--path",
    metavar="DIRECTORY",
    help="The manager's directory; by default that of the only manager that runs.",
)
_json = click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def state() -> None:
    """Looks into the state that managers share."""


@state.command("ls")
@_path
@_json
def ls(path: str | None, as_json: bool) -> None:  # noqa: FBT001  # click gives it by name
    """Lists the containers of a manager, or of every manager of this user that runs."""
    found = [_open(one).statistics() for one in ([path] if path else _living())]
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(one) for one in found]))
        return
    for one in found:
        click.echo(f"{one.path}: {one.keys} keys, {one.bytes} bytes, {one.readers} readers")
        for box in one.containers:
            held = f", held by process {box.holder}" if box.holder else ""
            click.echo(
                f"  {box.kind:16} {box.name or '(anonymous)':24} "
                f"{box.items} items, {box.bytes} bytes, {box.waiters} waiting{held}"
            )


@state.command()
@click.argument("name")
@click.argument("key", required=False)
@_path
@_json
def get(name: str, key: str | None, path: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Prints a container, or what a dict or a list has under a key or an index."""
    box = _find(_open(path), name)
    _print(_content(box) if key is None else _item(box, name, key), as_json=as_json)


@state.command()
@_path
@_json
def dump(path: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Prints every container that has a name, with all it holds."""
    manager = _open(path)
    names = [one.name for one in manager.statistics().containers if one.name is not None]
    content = {name: _content(_find(manager, name)) for name in names}
    if as_json:
        _print(content, as_json=True)
        return
    for name, value in content.items():
        click.echo(f"{name} = {value!r}")


@state.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Remove every container.")
@_path
def clear(names: tuple[str, ...], everything: bool, path: str | None) -> None:  # noqa: FBT001
    """Removes containers and all they hold."""
    if bool(names) == everything:
        raise click.UsageError("name the containers, or give --all")
    from manycore.state import proxy

    manager = _open(path)
    boxes = [_find(manager, name) for name in names]
    if everything:
        store = manager._store  # noqa: SLF001  # the command is part of the house
        boxes = [proxy.proxy_of(store, entry) for entry in proxy.entries(store)]
    for box in boxes:
        proxy.Proxy.delete(box)
    click.echo(f"removed {len(boxes)}")


def _living() -> list[str]:
    from manycore.state import home

    return home.living()


def _open(path: str | None) -> Manager:
    from manycore.state.manager import Manager

    if path is None:
        paths = _living()
        if len(paths) != 1:
            problem = f"{len(paths)} managers run" if paths else "no manager runs"
            remedy = f"give --path, one of {', '.join(paths)}" if paths else "give --path"
            raise StateError("state", problem, remedy)
        path = paths[0]
    return Manager.attach(path)


def _find(manager: Manager, name: str) -> Proxy:
    found = manager.find(name)
    if found is None:
        raise StateError(manager.path, f"it has no container {name!r}", "see: manycore state ls")
    return found


def _content(box: Any) -> Any:
    kind = type(box).kind
    match kind:
        case "list" | "deque" | "Array":
            return list(box)
        case "dict" | "set":
            return box.copy()
        case "Namespace":
            return box._dict.copy()  # noqa: SLF001  # its public names are the user's
        case "Value" | "counter":
            return box.value
    return repr(box)


def _item(box: Any, name: str, key: str) -> Any:
    content = _content(box)
    if isinstance(content, list):
        content = dict(enumerate(content))
    if isinstance(content, dict):
        for known, value in content.items():
            if key in {str(known), repr(known)}:
                return value
    raise StateError(name, f"it has no key {key!r}", f"see: manycore state get {name}")


def _print(value: Any, *, as_json: bool) -> None:
    if not as_json:
        click.echo(repr(value))
        return
    if isinstance(value, set):
        value = sorted(value, key=repr)
    if isinstance(value, dict):
        value = {str(key): item for key, item in value.items()}
    click.echo(json.dumps(value, default=repr))
