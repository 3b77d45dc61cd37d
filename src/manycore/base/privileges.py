"""Becoming another user, for good.

Guarantee: either all of it is given up, supplementary groups too, or the process does not go on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from manycore.errors import SettingsError

from . import lifetime


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a process becomes.

    Attributes:
        uid: The user's number; None: it stays.
        gid: The group's.
        name: The user's name, by which its further groups are found; empty: there are none.
    """

    uid: int | None
    gid: int | None
    name: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether there is nothing to become."""
        return self.uid in {None, os.geteuid()} and self.gid in {None, os.getegid()}

    @property
    def owner(self) -> tuple[int, int] | None:
        """Whose the files shall be that it needs, for `chown`; None: whose they are anyway."""
        if self.is_ours:
            return None
        return -1 if self.uid is None else self.uid, -1 if self.gid is None else self.gid


def find(user: str, group: str) -> Identity:
    """Finds a user and a group, by names or numbers; an empty one stays as it is.

    Raises:
        SettingsError: When there is no such user or group, or this process cannot become it.

    Example:
        >>> find("", "")
        Identity(uid=None, gid=None, name='')
        >>> find("nobody-else", "")
        Traceback (most recent call last):
        ...
        manycore.errors.SettingsError: user: there is no user 'nobody-else'; give one that there is
    """
    uid, gid, name = None, None, ""
    if user:
        uid, gid, name = _user(user)
    if group:
        gid = _group(group)
    found = Identity(uid, gid, name)
    if not found.is_ours and os.geteuid() != 0:
        where = "user" if user else "group"
        problem = f"only root can become {user or group}"
        raise SettingsError(where, problem, "start as root, or leave it out")
    return found


def _user(user: str) -> tuple[int, int | None, str]:
    import pwd  # who changes nothing needs no database

    try:
        found = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        if user.isdigit():
            return int(user), None, ""
        problem = f"there is no user {user!r}"
        raise SettingsError("user", problem, "give one that there is") from None
    return found.pw_uid, found.pw_gid, found.pw_name


def _group(group: str) -> int:
    import grp

    try:
        return int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        problem = f"there is no group {group!r}"
        raise SettingsError("group", problem, "give one that there is") from None


def become(identity: Identity) -> None:
    """Makes this process that user's, and what it was before no more.

    Raises:
        OSError: When the kernel refuses.
    """
    if identity.is_ours:
        return
    gid = os.getegid() if identity.gid is None else identity.gid
    if identity.name:
        os.initgroups(identity.name, gid)
    else:
        os.setgroups([gid])
    os.setgid(gid)  # of a process that may be anybody, the saved one too
    if identity.uid is not None:
        os.setuid(identity.uid)
    lifetime.keep_to_parent()
