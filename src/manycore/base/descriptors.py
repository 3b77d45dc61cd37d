"""How many descriptors this process may have open."""

from __future__ import annotations

import resource


def allow(wanted: int) -> None:
    """Raises the soft limit towards the hard one; the default of 1,024 is made for select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
