"""Where a manager's files live, whose they are, and when they go.

Guarantees: a private directory is removed by the process that made it, when that ends in good
order, and otherwise by the next manager that starts; never while its maker lives or any process has
it open. A directory is used only if it is ours, and nobody else can write to it. Nothing is read
from a file before that is known. A directory that lasts is made by one process at a time; killed
while it does, it leaves what the next one finishes.

Two independent signs must agree before anything is swept: the maker's identity in the directory's
name is dead, and its `held` file, on which every user has a shared flock, can be locked.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Final, Literal

from manycore.base import kernel, life
from manycore.errors import StateClosed, StateDamaged, StateError, StateFull, StateRefused

kernel.require_pidfd("manycore's shared state")

Durability = Literal["process", "power"]

FORMAT: Final = 1
SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108  # its directories are ours alone, and checked
LEAST_ROOM: Final = 128 << 20  # bytes: a container's default of 64 MB is used up within seconds
LARGEST_MAP: Final = 1 << 40  # bytes of address space, which cost nothing until they are used
SMALLEST_SIZE: Final = 1 << 20  # bytes: below this the store's own pages are most of the file
_FACTS: Final = "manycore.json"
_HELD: Final = "held"
_GATES: Final = "gates"
_BOOT: Final = "boot"
_DRAFT: Final = ".draft"  # behind the name of a file that is being written
#: what is there before the facts are, which make a directory ours
_BEFORE_FACTS: Final = frozenset({_HELD, _GATES, _BOOT, _BOOT + _DRAFT, _FACTS + _DRAFT})
_PATIENCE: Final = 60.0  # seconds: after a restart the one before us reads the whole file
_LOOK: Final = 0.005  # seconds between two tries to have the turn
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Home:
    """A directory that is ours, and how its file is used.

    Attributes:
        path: The directory.
        private: It goes with the process that made it.
        durability: What a commit waits for.
        max_size: The most bytes that the file may have, or None.
        map_size: The bytes of address space that every process maps.
    """

    path: str
    private: bool
    durability: Durability
    max_size: int | None
    map_size: int

    @property
    def data(self) -> str:
        """The file that holds everything."""
        return os.path.join(self.path, "data.mdb")

    @property
    def gates(self) -> str:
        """The directory of the named pipes that waiting processes sleep on."""
        return os.path.join(self.path, _GATES)


def create_private(max_size: int | None, maker: str | None = None) -> Home:
    """Makes a directory that lasts as long as a process, in memory where there is room.

    Args:
        max_size: The most bytes that its file may have.
        maker: The name of that process's identity, who must remove it; None: this process's.
    """
    place = _choose_place(max_size)
    sweep(place)
    path = os.path.join(place, f"{_prefix()}{maker or life.name()}-{secrets.token_hex(4)}")
    os.mkdir(path, 0o700)
    return _furnish(path, private=True, durability="process", max_size=max_size)


def open_lasting(path: str, max_size: int | None, durability: Durability | None) -> Home:
    """Opens, or makes, a directory that stays.

    Raises:
        StateRefused: It is another user's, open to others, or holds files of somebody else.
        StateDamaged: The machine stopped while it was in use, and the file did not survive.
    """
    path = os.path.realpath(path)
    with suppress(FileExistsError):
        os.makedirs(path, 0o700)
    _check_owner(path)
    with _turn(path):
        if not os.path.exists(os.path.join(path, _FACTS)):
            if set(os.listdir(path)) - _BEFORE_FACTS:
                raise StateRefused(
                    path, "it holds files that manycore did not make", "give another"
                )
            return _furnish(
                path, private=False, durability=durability or "process", max_size=max_size
            )
    home = attach(path)
    _prepare(path)
    if durability not in {None, home.durability}:
        raise StateError(
            path, f"it was made with durability={home.durability!r}", "open it with the same"
        )
    if max_size not in {None, home.max_size}:
        raise StateError(
            path, f"it was made with max_size={home.max_size}", "open it with the same"
        )
    return home


def attach(path: str) -> Home:
    """Reads the facts of a directory that another process, or another run, has made.

    Raises:
        StateClosed: There is none any more.
        StateRefused: It is not ours.
        StateDamaged: The machine stopped while it was in use, and the file did not survive.
    """
    _check_owner(path)
    try:
        with open(os.path.join(path, _FACTS), encoding="utf-8") as file:
            facts = json.load(file)
    except FileNotFoundError:
        raise StateClosed(path, "there is no state", "its owner has closed it, or ended") from None
    except (OSError, ValueError) as error:
        raise StateRefused(path, f"it cannot be read ({error})", "give another path") from None
    if not isinstance(facts, dict) or facts.pop("format", None) != FORMAT:
        raise StateRefused(path, "another version of manycore made it", "give another path")
    home = Home(path=path, **facts)
    if not home.private:
        _check_boot(home)
    return home


def hold(home: Home) -> int:
    """Keeps a directory from being swept while the descriptor that is given back is open."""
    try:
        fd = os.open(os.path.join(home.path, _HELD), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise StateClosed(
            home.path, "the state is gone", "its owner has closed it, or ended"
        ) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.stat(home.data if os.path.exists(home.data) else home.path)
    except OSError:  # somebody is sweeping it
        os.close(fd)
        raise StateClosed(home.path, "the state is gone", "its owner has ended") from None
    return fd


def remove(path: str) -> None:
    """Removes a private directory. Processes that have it open keep what they mapped."""
    shutil.rmtree(path, ignore_errors=True)


def sweep(place: str) -> list[str]:
    """Removes what managers of ours left in a place when they were killed; gives their paths."""
    swept = []
    for path, maker in _private_directories(place):
        if not life.is_alive(maker) and _is_unused(path):
            remove(path)
            swept.append(path)
    return swept


def living() -> list[str]:
    """Lists the private directories of this user's managers that live."""
    places = {SHARED_MEMORY, tempfile.gettempdir()}
    found = [pair for place in sorted(places) for pair in _private_directories(place)]
    return [path for path, maker in found if life.is_alive(maker)]


def _private_directories(place: str) -> Iterator[tuple[str, bytes]]:
    prefix = _prefix()
    with suppress(FileNotFoundError), os.scandir(place) as entries:
        for entry in entries:
            maker = life.parse_name(entry.name.removeprefix(prefix))
            if not entry.name.startswith(prefix) or maker is None:
                continue
            with suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                    yield entry.path, maker


def _is_unused(path: str) -> bool:
    try:
        fd = os.open(os.path.join(path, _HELD), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # its maker was killed before it was furnished
        return True
    try:
        return _locked(fd)
    finally:
        os.close(fd)


def _prefix() -> str:
    return f"manycore-{os.geteuid()}-"


def _choose_place(max_size: int | None) -> str:
    """Gives /dev/shm, or another place when that is missing or small."""
    needed = max(max_size or 0, LEAST_ROOM)
    temporary = tempfile.gettempdir()
    for place in (SHARED_MEMORY, temporary):
        with suppress(OSError):
            room = os.statvfs(place)
            writable = os.access(place, os.W_OK | os.X_OK)
            if writable and room.f_bavail * room.f_frsize >= needed:
                return place
    if max_size is None:  # both are small: what there is must do
        return temporary
    raise StateFull(
        temporary, f"there is no room for max_size={max_size}", "free some, or ask less"
    )


def _furnish(path: str, *, private: bool, durability: Durability, max_size: int | None) -> Home:
    os.chmod(path, 0o700)
    _prepare(path)
    room = os.statvfs(path)
    whole = min(room.f_blocks * room.f_frsize, LARGEST_MAP)
    size = max_size if max_size is not None else max(whole, SMALLEST_SIZE)
    # a full file can only be emptied if there is room to write down what is free
    spare = 0 if max_size is None else max(max_size // 8, 256 * _PAGE)
    home = Home(path, private, durability, max_size, (size + spare) // _PAGE * _PAGE)
    facts = {"format": FORMAT, **asdict(home)}
    del facts["path"]
    if not private:  # what is private does not outlive this boot
        _write_boot(home)
    _write(path, _FACTS, json.dumps(facts), lasts=not private)
    return home


@contextmanager
def _turn(path: str) -> Iterator[None]:
    """Lets one process at a time make a directory, or look whether its file is whole.

    The kernel ends the turn of a process that is killed.
    """
    deadline = time.monotonic() + _PATIENCE
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while not _locked(fd):
            if time.monotonic() > deadline:
                raise StateError(
                    path, f"another process has made or checked it for {_PATIENCE:.0f} s", "end it"
                )
            time.sleep(_LOOK)
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)  # a forked copy of this process may have the descriptor too
        os.close(fd)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(path: str, name: str, text: str, *, lasts: bool) -> None:
    """Writes a file that is there whole or not at all: after a power cut too, if it lasts."""
    draft = os.path.join(path, name + _DRAFT)
    with open(draft, "w", encoding="utf-8", opener=_privately) as file:
        file.write(text)
        file.flush()
        if lasts:
            os.fsync(file.fileno())
    os.replace(draft, os.path.join(path, name))
    if not lasts:
        return
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _prepare(path: str) -> None:
    """Makes what is empty when nobody is there, and so gets lost when a directory is copied."""
    with suppress(FileExistsError):
        os.mkdir(os.path.join(path, _GATES), 0o700)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(os.path.join(path, _HELD), flags, 0o600))


def _privately(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _check_owner(path: str) -> None:
    """Refuses a directory, or a file in it, that is another user's or that others can write."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        raise StateClosed(path, "there is no state", "its owner has closed it, or ended") from None
    if not stat.S_ISDIR(found.st_mode):
        raise StateRefused(path, "it is no directory", "give another path")
    if found.st_uid != os.geteuid():
        raise StateRefused(path, f"it belongs to user {found.st_uid}", "give one of your own")
    if found.st_mode & 0o077:
        raise StateRefused(
            path, f"others can use it (mode {stat.S_IMODE(found.st_mode):04o})", "chmod 700 it"
        )
    for name in (_FACTS, "data.mdb", "lock.mdb", _HELD):
        with suppress(FileNotFoundError):
            found = os.lstat(os.path.join(path, name))
            if (
                not stat.S_ISREG(found.st_mode)
                or found.st_uid != os.geteuid()
                or found.st_mode & 0o022
            ):
                raise StateRefused(
                    os.path.join(path, name), "others can write it", "do not trust it: remove it"
                )


def _write_boot(home: Home) -> None:
    _write(home.path, _BOOT, f"{life.boot():08x}", lasts=True)


def _check_boot(home: Home) -> None:
    """After a restart of the machine, reads the whole file before anybody trusts it."""
    if _is_of_this_boot(home):
        return
    with _turn(home.path):
        if not _is_of_this_boot(home):  # nobody has read it meanwhile
            if home.durability == "process" and os.path.exists(home.data):
                verify(home)
            _write_boot(home)


def _is_of_this_boot(home: Home) -> bool:
    try:
        with open(os.path.join(home.path, _BOOT), encoding="ascii") as file:
            booted = re.fullmatch(r"[0-9a-f]{8}", file.read())
    except OSError:
        return False
    return booted is not None and int(booted[0], 16) == life.boot()


def verify(home: Home) -> None:
    """Checks every page of the file, at rest, without giving it to the store's own code.

    Raises:
        StateDamaged: When it is not whole.
    """
    from lmdb import verify as verifier

    try:
        problems: list[str] = verifier.verify(home.path)  # type: ignore[no-untyped-call]
    except verifier.VerifyError as error:
        problems = [str(error)]
    if problems:
        raise StateDamaged(
            home.path,
            f"the file is not whole ({problems[0]})",
            "restore it, or remove it; durability='power' survives a power cut",
        )
