"""The standard library's managers, for what `manycore.Manager` is not made for.

Types of your own that live in one process, and managers that are reached over TCP: `BaseManager`
and its registry do that, and are here unchanged. See the docs, "Sharing state".

Example:
    >>> issubclass(SyncManager, BaseManager)
    True
"""

from __future__ import annotations

from multiprocessing.managers import (
    BaseManager,
    BaseProxy,
    Namespace,
    RemoteError,
    SharedMemoryManager,
    SyncManager,
    Token,
)

__all__ = [
    "BaseManager",
    "BaseProxy",
    "Namespace",
    "RemoteError",
    "SharedMemoryManager",
    "SyncManager",
    "Token",
]
