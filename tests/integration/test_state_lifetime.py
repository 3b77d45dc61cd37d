"""Whose the state is, when it goes, and what it survives."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from lmdb import verify

from eventually import eventually
from manycore import (
    Manager,
    StateClosed,
    StateDamaged,
    StateError,
    StateFull,
    StateRefused,
    StateTypeError,
)
from manycore.state import home
from state_support import Start


def use(names: Any, ages: Any, hits: Any) -> None:
    names.append("child")
    ages["child"] = 1
    hits.add(5)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_proxies_travel_under_every_start_method(manager: Manager, method: str) -> None:
    """A child started in any way changes what the parent sees."""
    boxes = manager.list(), manager.dict(), manager.counter()
    process = multiprocessing.get_context(method).Process(target=use, args=boxes)  # type: ignore[attr-defined]
    process.start()
    process.join()
    process.close()
    assert (list(boxes[0]), boxes[1].copy(), boxes[2].get()) == (["child"], {"child": 1}, 5)
    stop_helpers()


def stop_helpers() -> None:
    """Ends the processes that multiprocessing keeps for the next time."""
    from multiprocessing import forkserver, resource_tracker

    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


def test_proxies_and_managers_are_pickled_by_name(manager: Manager) -> None:
    """A copy is the same container, also by cloudpickle, and the manager itself travels too."""
    box = manager.dict(a=1)
    copies = [pickle.loads(pickle.dumps(box)), cloudpickle.loads(cloudpickle.dumps(box))]
    copies[0]["b"] = 2
    assert copies[1].copy() == box.copy() == {"a": 1, "b": 2}
    assert copies[0] == box
    pickle.loads(pickle.dumps(manager)).counter("hits").add()
    assert manager.counter("hits").get() == 1


def test_a_name_is_found_from_any_process(manager: Manager, start: Start) -> None:
    """And is refused for a container of another type."""
    manager.dict("sessions")["ann"] = 1
    start(lambda: manager.dict("sessions").update(bob=2)).join()
    assert manager.dict("sessions").copy() == {"ann": 1, "bob": 2}
    with pytest.raises(StateTypeError, match="sessions"):
        manager.list("sessions")
    assert manager.delete("sessions")
    assert not manager.delete("sessions")
    assert manager.dict("sessions").copy() == {}


def test_an_anonymous_container_goes_with_its_owners_last_proxy(manager: Manager) -> None:
    """Its records are gone; one that is part of a value stays as long as the manager."""
    box = manager.list(range(100))
    keys = manager.statistics().keys
    again = pickle.loads(pickle.dumps(box))
    del box
    gc.collect()
    assert manager.statistics().keys == keys
    del again
    gc.collect()
    assert manager.statistics().keys < keys - 99

    shelf = manager.dict("shelf", fruit=manager.list(["fig"]))
    gc.collect()
    shelf["fruit"].append("pear")
    assert list(shelf["fruit"]) == ["fig", "pear"]


def test_private_state_goes_at_the_end(manager: Manager) -> None:
    """At `shutdown`, and when the interpreter ends; afterwards every use is a clear error."""
    box = manager.dict(a=1)
    assert os.stat(manager.path).st_mode & 0o777 == 0o700
    manager.shutdown()
    assert not os.path.exists(manager.path)
    for use_it in (lambda: box["a"], lambda: box.update(b=1), manager.list):
        with pytest.raises(StateClosed):
            use_it()
    code = "import manycore; m = manycore.Manager(); m.list([1]); print(m.path)"
    path = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert path
    assert not os.path.exists(path)


def test_what_is_closed_can_be_printed(manager: Manager) -> None:
    """It is told that it is closed; nothing that is printed raises."""
    kinds = ["dict", "Namespace", "list", "set", "deque", "counter", "Lock", "Event", "Queue"]
    boxes = [getattr(manager, kind)() for kind in kinds]
    boxes += [manager.Value("i", 1), manager.Array("i", [1]), manager.Barrier(2)]
    assert not any("closed" in repr(box) for box in boxes)
    manager.shutdown()
    for box in boxes:
        assert repr(box).endswith("closed>")
        assert str(box) == repr(box)


def test_a_child_ends_without_taking_the_state_along(manager: Manager) -> None:
    """Neither its exit nor its interpreter's clean-up removes what the parent made."""
    box = manager.list()
    pid = os.fork()
    if pid == 0:
        box.append(1)
        try:
            sys.exit(0)
        finally:
            import atexit

            atexit._run_exitfuncs()
            os._exit(0)
    os.waitpid(pid, 0)
    assert list(box) == [1]


def test_what_the_killed_left_is_swept_and_the_living_are_not(start: Start) -> None:
    """After `kill -9` of a whole family the next manager removes its directory, and no other."""
    reader, writer = os.pipe()

    def own() -> None:
        manager = Manager()
        box = manager.dict(a=1)

        def use() -> None:
            box["b"] = 2
            signal.pause()

        child = os.fork()
        if child == 0:
            use()
        eventually(lambda: "b" in box, within=10)
        os.write(writer, f"{child} {manager.path}\n".encode())
        signal.pause()

    with Manager() as living:
        owner = start(own)
        text = os.read(reader, 4096).decode().split()
        grandchild, path = int(text[0]), text[1]
        os.close(reader)
        os.close(writer)
        owner.kill()
        with Manager():
            assert os.path.exists(path), "somebody still uses it"
        os.kill(grandchild, signal.SIGKILL)
        eventually(lambda: not _holds(path), within=5)
        with Manager():
            assert not os.path.exists(path)
        living.list([1])


def _holds(path: str) -> bool:
    return not home._is_unused(path)


def test_a_directory_that_only_looks_like_ours_is_left_alone(tmp_path: Path) -> None:
    """No name, no file and no link of somebody else is swept."""
    prefix = home._prefix()
    (tmp_path / f"{prefix}not-a-process").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / f"{prefix}1-1-00000000-x").symlink_to(tmp_path / "target")
    (tmp_path / f"{prefix}1-2-00000000-x").write_text("a file")
    stale = tmp_path / f"{prefix}1-3-00000000-x"
    stale.mkdir()
    assert home.sweep(str(tmp_path)) == [str(stale)]
    assert len(list(tmp_path.iterdir())) == 4


def test_a_directory_survives_restarts(tmp_path: Path, start: Start) -> None:
    """What a killed process committed is there; what it had begun is not."""
    path = str(tmp_path / "state")

    def work() -> None:
        manager = Manager(path)
        box = manager.dict("box", done=1)
        manager.list([1, 2, 3])
        with manager.transaction():
            box["half"] = 1
            os.kill(os.getpid(), signal.SIGKILL)

    child = start(work)
    assert child.wait() == -signal.SIGKILL
    with Manager(path) as manager:
        assert manager.dict("box").copy() == {"done": 1}
        assert [one.kind for one in manager.statistics().containers] == ["dict"]
    assert verify.verify(path) == []  # type: ignore[no-untyped-call]


def test_power_durability_works_alike(tmp_path: Path) -> None:
    """Every commit waits for the disk; the choice stays with the directory."""
    path = str(tmp_path / "state")
    with Manager(path, durability="power", max_size=4 << 20) as manager:
        manager.dict("box").update(dict.fromkeys(range(1000), "x" * 100))
    with Manager(path) as manager:
        assert len(manager.dict("box")) == 1000
        assert manager._store.home.durability == "power"
    with pytest.raises(StateError, match="durability"):
        Manager(path, durability="process")


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_full_manager_says_so_and_stays_as_it_was(tmp_path: Path, durability: Any) -> None:
    """`max_size` bounds the file; removing makes room again."""
    with Manager(str(tmp_path / "s"), max_size=4 << 20, durability=durability) as manager:
        box, other = manager.dict("box"), manager.list("other")
        with pytest.raises(StateFull, match="max_size"):  # one of the many
            for number in range(10_000):
                box[number] = os.urandom(1000)
        count = len(box)
        assert 1500 < count < 4200
        before = box.copy()
        with pytest.raises(StateFull), manager.transaction():
            other.append(1)
            box["big"] = bytes(3 << 20)
        with pytest.raises(MemoryError):
            other.extend([bytes(1000)] * 4000)
        assert (box.copy(), list(other)) == (before, [])
        for number in range(count * 3 // 4):
            del box[number]
        for number in range(count // 3):
            box[number] = os.urandom(1000)
        box.clear()
        box["b"] = box["c"] = 1  # what one commit frees, the next but one can use
        box["a"] = bytes(1 << 20)
    assert os.stat(tmp_path / "s" / "data.mdb").st_size <= 5 << 20


def mounted(size: str, options: str = "") -> Iterator[str]:
    with tempfile.TemporaryDirectory() as place:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}{options}", "tmpfs", place]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs the right to mount")
        try:
            yield place
        finally:
            subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def small_disk() -> Iterator[str]:
    yield from mounted("8m")


def test_a_full_disk_is_an_error_and_no_sigbus(small_disk: str, start: Start) -> None:
    """Every kind of write ends in `StateFull`, in every process, and what was there is there."""
    path = os.path.join(small_disk, "state")

    def fill() -> None:
        with Manager(path) as manager:
            box, names = manager.dict("box"), manager.list("names")
            full = 0
            for number in range(3000):
                try:
                    box[number] = os.urandom(5000)
                    names.append(number)
                except StateFull:
                    full += 1
            assert full > 1000
            with pytest.raises(StateFull):
                names.extend([bytes(100)] * 100_000)
            with pytest.raises(StateFull), manager.transaction():
                for number in range(100_000):
                    box["x", number] = number

    for child in [start(fill) for _ in range(2)]:
        child.join()
    with Manager(path) as manager:
        box = manager.dict("box")
        assert 500 < len(box) < 1700
        assert all(len(value) == 5000 for value in box.values())
        for number in list(box)[:300]:
            del box[number]
    assert verify.verify(path) == []  # type: ignore[no-untyped-call]


def test_a_disk_that_others_fill_is_no_sigbus_either(small_disk: str) -> None:
    """Room is asked for before it is used; once there is some again, writing goes on."""
    with Manager(os.path.join(small_disk, "state")) as manager:
        box = manager.dict("box")
        box["a"] = 1
        ballast = Path(small_disk) / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
        with pytest.raises(StateFull, match="full"):  # one of the many
            for number in range(1000):
                box[number] = os.urandom(5000)
        assert box["a"] == 1
        ballast.unlink()
        box["b"] = os.urandom(1 << 20)


def test_a_small_shared_memory_is_noticed(small_disk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another place is used then, and when it cannot be written to."""
    monkeypatch.setattr(home, "SHARED_MEMORY", small_disk)
    with Manager() as manager:
        assert manager.path.startswith(tempfile.gettempdir() + "/manycore-")
        manager.list([1])
    monkeypatch.setattr(home, "SHARED_MEMORY", "/nowhere")
    with Manager() as manager:
        assert manager.path.startswith(tempfile.gettempdir())


def test_what_is_not_ours_is_refused(tmp_path: Path, manager: Manager) -> None:
    """Open to others, somebody else's, a file, other files in it: nothing is read from it."""
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o755)
    with pytest.raises(StateRefused, match="others can use it"):
        Manager(str(open_to_all))
    (tmp_path / "file").write_text("")
    (tmp_path / "file").chmod(0o600)
    with pytest.raises((StateRefused, FileExistsError)):
        Manager(str(tmp_path / "file"))
    strange = tmp_path / "strange"
    strange.mkdir(0o700)
    (strange / "data.mdb").write_text("somebody's")
    with pytest.raises(StateRefused, match="did not make"):
        Manager(str(strange))
    if os.geteuid() == 0:
        foreign = tmp_path / "foreign"
        foreign.mkdir(0o700)
        os.chown(foreign, 12345, 12345)
        with pytest.raises(StateRefused, match="12345"):
            Manager(str(foreign))
    box = manager.dict(a=1)
    data = pickle.dumps(box)
    Path(manager.path, "data.mdb").chmod(0o666)
    code = f"import pickle\ntry: pickle.loads({data!r})\nexcept PermissionError: print('refused')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "refused"


def test_a_damaged_file_is_noticed_after_a_restart_of_the_machine(tmp_path: Path) -> None:
    """Every page is looked at before anything is read."""
    path = tmp_path / "state"
    with Manager(str(path)) as manager:
        manager.dict("box").update(dict.fromkeys(range(1000), "x" * 50))
    boot = path / "boot"
    boot.write_text("00000000")
    with Manager(str(path)) as manager:
        assert len(manager.dict("box")) == 1000
    boot.write_text("00000000")
    with (path / "data.mdb").open("r+b") as file:
        file.seek(5 * 4096)
        file.write(b"\xff" * 4096 * 3)
    with pytest.raises(StateDamaged):
        Manager(str(path))


def test_a_fork_under_threads_and_transactions_is_safe(manager: Manager, start: Start) -> None:
    """While other threads read and write, children begin, use the state, and end."""
    box, hits, stop = manager.dict(a=1), manager.counter(), threading.Event()

    def work() -> None:
        while not stop.is_set():
            with manager.transaction():
                hits.add()
                box["a"] = hits.get()
            assert box["a"] > 0

    def write() -> None:
        while not stop.is_set():
            hits.add()

    threads = [threading.Thread(target=one) for one in (work, work, write, write)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            start(lambda: box.update(b=hits.add())).join()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    with manager.transaction():
        box["c"] = 1
        child = start(lambda: box.get("a"))
        child.join()
    assert box["c"] == 1


def test_a_killed_writer_leaves_all_or_nothing(manager: Manager, start: Start) -> None:
    """Killed in the middle of transactions, again and again: sums stay, and others go on."""
    accounts = manager.dict(dict.fromkeys(range(10), 100))

    def move() -> None:
        number = 0
        while True:
            number += 1
            with manager.transaction():
                accounts[number % 10] -= 1
                accounts[(number + 3) % 10] += 1

    for _ in range(15):
        movers = [start(move) for _ in range(2)]
        time.sleep(0.02)
        for mover in movers:
            mover.kill()
        assert sum(accounts.values()) == 1000
        accounts[0] += 0


def test_a_transaction_is_seen_whole_or_not(manager: Manager, start: Start) -> None:
    """No other process sees its middle, and after an exception nothing of it happened."""
    one, two = manager.counter(), manager.list()
    with pytest.raises(LookupError), manager.transaction():
        one.add()
        two.append(1)
        assert (one.get(), list(two)) == (1, [1])
        start(lambda: pytest.fail("seen") if one.get() or list(two) else None).join()
        raise LookupError
    assert (one.get(), list(two)) == (0, [])
    with manager.transaction(), manager.transaction():
        one.add()
    assert one.get() == 1


def test_counting_and_computing_lose_nothing(manager: Manager, start: Start) -> None:
    """Read-modify-write helpers are atomic across processes and threads."""
    box, hits, winners = manager.dict(n=0), manager.counter(), manager.set()

    def count() -> None:
        for number in range(200):
            box.compute("n", lambda value: value + 1)
            hits.add(2)
            box.setdefault(("first", number), os.getpid())
            winners.add(number)

    for child in [start(count) for _ in range(4)]:
        child.join()
    assert (box["n"], hits.get(), len(winners), len(box)) == (800, 1600, 200, 201)


def test_keys_end_at_their_time(manager: Manager) -> None:
    """They are gone for every method, at the latest when somebody looks."""
    box = manager.dict(stays=0)
    box.put("goes", 1, ttl=0.05)
    box.put("later", 1, ttl=60.0)
    assert len(box) == 3
    assert 59 < (box.ttl("later") or 0) <= 60
    assert box.ttl("stays") is None
    eventually(lambda: "goes" not in box, within=10)
    assert (box.get("goes"), len(box), box.copy()) == (None, 2, {"stays": 0, "later": 1})
    with pytest.raises(KeyError):
        box["goes"]
    box["later"] = 2
    assert box.ttl("later") is None
    assert box.setdefault("goes", 5) == 5
    with pytest.raises(ValueError, match="ttl"):
        box.put("x", 1, ttl=0)
    for ever in (float("inf"), 1e300):
        box.put("x", 1, ttl=ever)
        assert box.ttl("x") is None


def test_bad_values_change_nothing(manager: Manager) -> None:
    """Each raises what the builtin container would, or pickle, and the state is as it was."""
    box, names = manager.dict(a=1), manager.list([1])
    unpicklable = threading.Lock()
    for action in (
        lambda: box.__setitem__([], 1),
        lambda: box.__setitem__("b", unpicklable),
        lambda: box.update(b=1, c=unpicklable),
        lambda: names.append(unpicklable),
        lambda: names.extend([1, unpicklable]),
        lambda: names.__getitem__("x"),
        lambda: manager.set([[]]),
        lambda: manager.Array("i", ["x"]),
        lambda: manager.Queue().put(unpicklable),
    ):
        with pytest.raises(TypeError):
            action()
    with pytest.raises(ValueError, match="typecode"):
        manager.Array("?", [1])
    with pytest.raises(ValueError, match="name"):
        manager.dict("x" * 1000)
    with pytest.raises(StateError):
        Manager(max_size=10)
    with pytest.raises(StateError, match="empty"):
        Manager("")
    assert (box.copy(), list(names)) == ({"a": 1}, [1])


def test_a_key_function_may_use_the_manager(manager: Manager) -> None:
    """While a list is sorted, its key function may use other containers; nothing hangs."""
    names = manager.list([3, 1, 2])
    box = manager.dict()

    def by(value: int) -> int:
        box[value] = "seen"
        return value

    names.sort(key=by)
    assert (list(names), len(box)) == ([1, 2, 3], 3)


class Noisy:
    """Sends its process a signal when it is compared."""

    def __lt__(self, other: object) -> bool:
        signal.raise_signal(signal.SIGUSR1)
        return False


def test_an_operation_in_the_middle_of_another_is_refused(manager: Manager) -> None:
    """A signal handler that interrupts one gets an error, and the interrupted one goes on."""
    hits, jobs = manager.counter(), manager.PriorityQueue()
    outcome: list[Exception] = []

    def handler(*_: object) -> None:
        try:
            hits.add()
        except StateError as error:
            outcome.append(error)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        jobs.put(Noisy())
        jobs.put(Noisy())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(outcome) == 1
    assert (hits.add(), jobs.qsize()) == (1, 2)


class Interrupted(BaseException):
    pass


def test_an_exception_at_any_instruction_leaves_nothing_locked(
    manager: Manager, start: Start
) -> None:
    """Interrupted like by Ctrl-C, a thousand times: what was begun is undone, and others go on."""
    box, names, jobs, hits = manager.dict(), manager.list(), manager.Queue(), manager.counter()
    armed, times = False, 0

    def interrupt(*_: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)
        for _ in range(1000):
            try:
                armed = True
                while True:
                    box["a"] = 1
                    names.append(1)
                    jobs.put(1)
                    jobs.get()
                    box["b"] = hits.add()
                    if times % 2:
                        with manager.transaction():
                            box["b"] = hits.add()
            except Interrupted:
                armed = False
                times += 1
                if times % 100 == 1:  # even while the exception is being handled
                    start(hits.add).join()
            if times % 100 == 0:
                start(hits.add).join()
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert times == 1000
    assert box["b"] <= hits.get()
    assert len(list(names)) == len(names)
    assert jobs.qsize() <= 1000


def test_many_managers_leave_nothing() -> None:
    """Neither descriptors nor directories."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        with Manager() as manager:
            manager.Queue().put(1)
        paths = manager.path
        assert not os.path.exists(paths)
    assert len(os.listdir("/proc/self/fd")) == before


def test_it_forgets_readers_that_were_killed(manager: Manager, start: Start) -> None:
    """Pages that only the dead could see are used again: the file does not grow for ever."""
    box = manager.dict(dict.fromkeys(range(2000), "x" * 100))

    def read_for_ever() -> None:
        while True:
            box.values()

    readers = [start(read_for_ever) for _ in range(4)]
    time.sleep(0.1)
    for reader in readers:
        reader.kill()
    for turn in range(60):
        box.update(dict.fromkeys(range(2000), f"{turn}" * 50))
    assert manager.statistics().file_bytes < 8 << 20


def test_a_transaction_of_many_operations_takes_the_room_that_it_needs() -> None:
    """What is asked of the filesystem follows what is put, not how many operations there are."""
    with Manager() as manager:
        jobs = manager.Queue()
        with manager.transaction():
            for number in range(5000):
                jobs.put(number)
        assert jobs.qsize() == 5000
        assert os.stat(os.path.join(manager.path, "data.mdb")).st_blocks * 512 < 32 << 20


def test_a_directory_that_was_copied_without_what_is_empty_opens(tmp_path: Path) -> None:
    """Copying may leave out empty files and directories; nothing that counts is in them."""
    path = str(tmp_path / "state")
    with Manager(path) as manager:
        manager.dict("d")["a"] = 1
    os.unlink(os.path.join(path, "held"))
    os.rmdir(os.path.join(path, "gates"))
    with Manager(path) as manager:
        assert manager.dict("d")["a"] == 1
        assert manager.Lock("gate").acquire(timeout=1.0)
