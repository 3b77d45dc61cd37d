"""Room for what will be written.

The file is mapped whole, and sparse: LMDB writes into the mapping, and if the filesystem has no
page left at that moment, the kernel ends the process with SIGBUS. So pages are asked for before
they are written (posix_fallocate, which fails with ENOSPC instead), always further than one
transaction can reach. How far it can reach is estimated from above:

* an operation touches a few records, and each of them a path from the root with its splits;
* records that are put in bulk take at most 2.2 times their bytes, and copies of what they touch;
* the list of free pages that a commit writes is at most 1/512 of the file, and may be copied.

LMDB copies pages and never overwrites what a reader can see, so even removing needs some room: the
last of it is kept for that.
"""

from __future__ import annotations

import errno
import mmap
import os
from typing import Any, Final

from manycore.errors import StateFull

from .home import Home

_OPERATION: Final = 256 << 10  # bytes: 64 pages, 4 records with a path and its splits each
_PUT: Final = 64 << 10  # bytes: what an operation's small records may add to what is there
_LEAST: Final = 128 << 10  # bytes that removing something needs
_METADATA: Final = 64 << 10  # bytes of a file's blocks that may be the filesystem's own
_SLACK: Final = 1 << 20  # bytes that stay ready for the list of free pages
_SLACK_SHARE: Final = 64  # and this part of the file
SMALL: Final = 16 << 10  # bytes of records that an operation's room covers without being asked
_GROWTH: Final = 8  # the file is extended by an eighth at a time
_LEAST_STEP: Final = 1 << 20  # bytes
_LARGEST_STEP: Final = 64 << 20  # bytes

# where a meta page keeps the number of the last used page, in units of 8 bytes: behind a header of
# 16 bytes, magic, version, address, size and two trees of 48 bytes (MDB_meta in LMDB 0.9's mdb.c)
_LAST_PAGE: Final = 17


class Space:
    """What of the file may be written.

    A transaction's needs are counted from its beginning, and never down. One that begins sets
    `spent` to 0, and unless the space `has_room`, it calls `begin`.

    Args:
        home: Where the file is.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._watched = home.durability == "process"  # else it is written by `write`, which fails
        self._reserved = 0  # bytes that the filesystem has promised
        self.spent = 0  # bytes that the open transaction may use beyond its first operation
        self._low = -1  # when the last used page is beyond this one, there is not much left
        self._fd = -1
        self._map: mmap.mmap | None = None
        self._last_pages = memoryview(b"")
        self._page = 4096
        self._two = _LAST_PAGE  # where the other meta page has it
        self._env: Any = None

    def start(self, env: Any) -> None:
        """Begins to watch the file of an environment that is open."""
        self._env = env
        self._page = env.stat()["psize"]
        self._two = self._page // 8 + _LAST_PAGE
        self._fd = os.open(self._home.data, os.O_RDWR | os.O_CLOEXEC)
        self._map = mmap.mmap(self._fd, 2 * self._page, prot=mmap.PROT_READ)
        self._last_pages = memoryview(self._map).cast("Q")
        self._reserved = 0
        self._low = -1

    def stop(self) -> None:
        """Lets go of the file."""
        self._env = None
        if self._map is not None:
            self._last_pages.release()
            self._map.close()
            self._map = None
            os.close(self._fd)

    def used(self) -> int:
        """Gives how many bytes of the file have been used so far, at the last commit."""
        return (max(self._last_pages[_LAST_PAGE], self._last_pages[self._two]) + 1) * self._page

    def has_room(self) -> bool:
        """Whether an operation need not ask for room; each looks, within its transaction."""
        last, low = self._last_pages, self._low
        return last[_LAST_PAGE] <= low and last[self._two] <= low

    def begin(self, txn: Any) -> bool:
        """Asks for the room of one operation. False: it may only remove things.

        Raises:
            StateFull: Not even that.
        """
        return self._ask(txn)

    def more(self, txn: Any) -> bool:
        """Counts another operation of the same transaction; as `begin`."""
        self.spent += _OPERATION
        return self._ask(txn)

    def need(self, txn: Any, size: int) -> None:
        """Asks for the room of records that are about to be put.

        Raises:
            StateFull: When `max_size` or the filesystem does not let the file grow.
        """
        self.spent += (size << 1) + (size >> 2)
        self._ask(txn, size)

    def _ask(self, txn: Any, size: int | None = None) -> bool:
        used = self.used()
        wanted = used + _OPERATION + self.spent + _slack(used)
        if wanted <= self._reserved:
            return True
        self._env.reader_check()  # pages that only the dead could see can be used again
        ceiling = self._home.map_size
        if wanted > ceiling:
            return self._ask_at_limit(txn, used, size)
        step = min(max(wanted // _GROWTH, _LEAST_STEP), _LARGEST_STEP)
        if self._extend(min(wanted + step, ceiling)) or self._extend(wanted):
            return True
        return self._refuse(used, size)

    def _ask_at_limit(self, txn: Any, used: int, size: int | None) -> bool:
        """Near `max_size` free pages are used again; LMDB itself never goes beyond its map."""
        ceiling = self._home.map_size
        if not self._extend(ceiling):
            return self._refuse(used, size)
        stat = txn.stat()
        pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        limit = self._home.max_size or ceiling - self._home.map_size // 8
        if pages * self._page + self.spent + _PUT <= limit:
            return True
        if size is None:
            return False
        raise StateFull(
            self._home.path, f"max_size={limit} is reached", "remove something, or allow more"
        )

    def _refuse(self, used: int, size: int | None) -> bool:
        """The filesystem is full: what is promised already may do to remove things."""
        if size is None and used + _LEAST <= self._reserved:
            return False
        raise StateFull(
            self._home.path, "the filesystem is full", "free some room, or use another path"
        )

    def _extend(self, end: int) -> bool:
        if end <= self._reserved:
            return True
        if self._watched:
            try:
                os.posix_fallocate(self._fd, self._reserved, end - self._reserved)
            except OSError as error:
                if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                    raise
                # what another process was promised, or this one before it opened the file
                end = min(os.fstat(self._fd).st_blocks * 512 - _METADATA, end - 1)
                self._promise(max(self._reserved, end))
                return False
        self._promise(end)
        return True

    def _promise(self, end: int) -> None:
        self._reserved = end
        # so that `used + _OPERATION + _slack(used)` fits
        free = (end - _OPERATION - _SLACK) * _SLACK_SHARE // (_SLACK_SHARE + 1)
        self._low = free // self._page - 1


def _slack(used: int) -> int:
    return _SLACK + used // _SLACK_SHARE
