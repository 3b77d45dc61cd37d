"""How much memory this process has."""

from __future__ import annotations

import os
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Gives the bytes of memory that this process has in use; 0 where the kernel does not say.

    Example:
        >>> resident_bytes() > 1_000_000
        True
    """
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return 0
