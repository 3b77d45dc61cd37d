"""What a process is given at its start, as bytes: the `Process` object and what it may need later.

Both sides are in this file: `pack` in the parent, `unpack` in the child.
"""

from __future__ import annotations

import pickle
import struct
import sys
from multiprocessing import process as standard
from typing import Any, Final

from manycore.base import birth, passing

_HEAD: Final = struct.Struct("?Q")  # a tracker's descriptor is the last one; bytes of definitions


def pack(process: standard.BaseProcess) -> tuple[bytes, list[int]]:
    """Writes a process object; gives the bytes and the descriptors that go with them.

    Raises:
        SendError: When a part of it cannot be sent.
    """
    cargo = passing.Cargo()
    data = passing.dumps(process, cargo)
    definitions = b""
    if cargo.talks:
        definitions = pickle.dumps(passing.definitions_of_main())
    fds = cargo.fds
    tracker = _resource_tracker_fd()
    if tracker is not None:
        fds = [*fds, tracker]
    return _HEAD.pack(tracker is not None, len(definitions)) + definitions + data, fds


def unpack(payload: bytes, fds: list[int]) -> Any:
    """Reads a process object, in the process that it is to be."""
    view = memoryview(payload)
    has_tracker, length = _HEAD.unpack_from(view)
    if has_tracker:
        _share_resource_tracker(fds.pop())
    body = _HEAD.size + length
    if length:
        definitions = pickle.loads(view[_HEAD.size : body])  # noqa: S301  # our parent's
        passing.define_in_main(definitions)
    # the standard library's spawn looks here too before it starts a process
    current = standard.current_process()
    current._inheriting = True  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        with birth.importing():
            return passing.loads(view[body:], fds)
    finally:
        del current._inheriting  # type: ignore[attr-defined]  # noqa: SLF001


def _resource_tracker_fd() -> int | None:
    """Gives the descriptor of the standard library's tracker of names, if one runs here."""
    module = sys.modules.get("multiprocessing.resource_tracker")
    fd: int | None = module._resource_tracker._fd if module else None  # noqa: SLF001
    return fd


def _share_resource_tracker(fd: int) -> None:
    """What this process registers with the parent's tracker outlives it, as under `spawn`."""
    from multiprocessing import resource_tracker

    resource_tracker._resource_tracker._fd = fd  # type: ignore[attr-defined]  # noqa: SLF001
