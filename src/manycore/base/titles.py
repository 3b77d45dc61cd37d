"""What `ps` and `top` show of a process."""

from __future__ import annotations


def set_title(title: str) -> None:
    """Names this process; without the optional library it keeps the name that it has."""
    try:
        from setproctitle import setproctitle
    except ImportError:
        return
    setproctitle(f"manycore: {title}")
