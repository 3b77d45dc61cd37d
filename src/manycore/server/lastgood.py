"""The last certificates that could serve, in memory that the workers of a server share.

Guarantees: what is found is what one process kept as a whole; one that dies while it writes harms
nobody; none of it has a name or is ever on a disk, and it ends with the last worker.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from manycore.base.segments import anonymous_file

_HEAD: Final = struct.Struct("!II")  # the length and the checksum of what follows


class LastGood:
    """The contents of files that served, as the supervisor makes it and its workers have it."""

    def __init__(self) -> None:
        self._fd = anonymous_file("certificates")
        self._lock = threading.Lock()  # the file's lock is the whole process's

    def keep(self, contents: list[bytes]) -> None:
        """Keeps these, and forgets what was said of worse ones."""
        kept = [content.decode("latin-1") for content in contents]
        with self._locked():
            facts = {"contents": kept, "said": ""}
            if self._read() != facts:
                self._write(facts)

    def contents(self) -> list[bytes] | None:
        """Gives what was kept last; None: nothing was."""
        with self._locked():
            kept = self._read().get("contents")
        return None if kept is None else [content.encode("latin-1") for content in kept]

    def is_news(self, complaint: str) -> bool:
        """Whether no worker has said this yet; whoever is told so says it."""
        with self._locked():
            facts = self._read()
            if facts.get("said") == complaint:
                return False
            self._write(facts | {"said": complaint})
        return True

    def close(self) -> None:
        """Lets go of it."""
        os.close(self._fd)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            fcntl.lockf(self._fd, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def _write(self, facts: dict[str, Any]) -> None:
        data = json.dumps(facts).encode()
        os.pwrite(self._fd, _HEAD.pack(len(data), zlib.crc32(data)) + data, 0)

    def _read(self) -> dict[str, Any]:
        head = os.pread(self._fd, _HEAD.size, 0)
        if len(head) < _HEAD.size:
            return {}
        length, checksum = _HEAD.unpack(head)
        data = os.pread(self._fd, length, _HEAD.size)
        if zlib.crc32(data) != checksum:
            return {}
        facts: dict[str, Any] = json.loads(data)
        return facts
