"""Kills processes with SIGKILL in the middle of everything, and looks at what is left.

    python benchmarks/state/torture.py             # 500 kills, a minute
    python benchmarks/state/torture.py --kills 50

Workers do six things at random: move amounts between accounts in a transaction, count, pass items
through queues with acknowledgement, work under a lock, append to a list and take from it, and share
the permits of a semaphore, and mostly wait for one another. One of them is killed every few
milliseconds and another takes its place. Each writes what it knows to be committed into a file of
its own, so that losses show. At the end everything is added up, and the file is verified page by
page.
"""

from __future__ import annotations

import argparse
import os
import queue
import random
import signal
import struct
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import manycore

ACCOUNTS = 20
WORKERS = 4
LIMIT = 1.0  # seconds that nobody may wait longer than


class Ledger:
    """What one worker knows to be committed: its last count, in a mapped file that survives it."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def write(self, counted: int, acknowledged: int) -> None:
        os.pwrite(self._fd, struct.pack("QQ", counted, acknowledged), 0)


def work(manager: Any, ledger: Ledger, seed: int) -> None:  # noqa: C901, PLR0912, PLR0915  # six things to do
    chance = random.Random(seed)
    accounts, hits = manager.dict("accounts"), manager.counter("hits")
    jobs, done = manager.Queue("jobs"), manager.set("done")
    lock, inside = manager.Lock("lock"), manager.Value("i", 0, name="inside")
    waits, things = manager.list("waits"), manager.list("things")
    seats = manager.Semaphore("seats", 2)
    counted = acknowledged = 0
    while True:
        match chance.randrange(6):
            case 0:
                one, two = chance.sample(range(ACCOUNTS), 2)
                with manager.transaction():
                    accounts[one] -= 1
                    accounts[two] += 1
            case 1:
                hits.add()
                counted += 1
                ledger.write(counted, acknowledged)
            case 2:
                try:
                    loan = jobs.get(timeout=LIMIT, ack=True)
                except queue.Empty:
                    continue
                with manager.transaction():
                    if not done.add(loan.item):
                        waits.append(("twice", loan.item))
                    loan.ack()
                acknowledged += 1
                ledger.write(counted, acknowledged)
            case 3:
                for thing in range(chance.randrange(4)):
                    things.append(thing)
                if len(things) > 100:
                    things.pop(chance.randrange(50))
            case 4:
                begun = time.monotonic()
                if not seats.acquire(timeout=30.0):
                    waits.append(("stuck at the seats", os.getpid()))
                    continue
                waited = time.monotonic() - begun
                if waited > LIMIT:
                    waits.append(("long at the seats", waited))
                if chance.random() < 0.3:
                    time.sleep(chance.random() * 0.002)
                seats.release()
            case _:
                begun = time.monotonic()
                if not lock.acquire(timeout=30.0):
                    waits.append(("stuck", os.getpid()))
                    continue
                waited = time.monotonic() - begun
                if waited > LIMIT:
                    waits.append(("long", waited))
                inside.value = os.getpid()
                if chance.random() < 0.3:
                    time.sleep(chance.random() * 0.002)
                if inside.value != os.getpid():
                    waits.append(("two at once", os.getpid()))
                lock.release()


def start(manager: Any, directory: Path, number: int) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            work(manager, Ledger(directory / f"ledger-{number}"), number)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return pid


def torture(path: str, directory: Path, kills: int, items: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    manager = manycore.Manager(path)
    manager.dict("accounts", dict.fromkeys(range(ACCOUNTS), 1000))
    jobs = manager.Queue("jobs")
    produced, killed, number = 0, 0, 0
    workers = []
    for _ in range(WORKERS):
        workers.append(start(manager, directory, number))
        number += 1
    problems: list[str] = []
    begun = time.monotonic()
    while killed < kills:
        for _ in range(min(items - produced, 40)):
            jobs.put(produced)
            produced += 1
        time.sleep(chance.random() * 0.03)
        victim = chance.randrange(WORKERS)
        os.kill(workers[victim], signal.SIGKILL)
        _, status = os.waitpid(workers[victim], 0)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            problems = [f"a worker ended by itself: {status}"]
            break
        killed += 1
        workers[victim] = start(manager, directory, number)
        number += 1
    lock, seats = manager.Lock("lock"), manager.Semaphore("seats", 2)
    for pid in workers:
        with suppress(ProcessLookupError, ChildProcessError):  # unless it ended by itself
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    asked = time.monotonic()
    taken = lock.acquire(timeout=30.0)
    final_wait = time.monotonic() - asked
    print(f"{killed + WORKERS} kills in {time.monotonic() - begun:.1f} s; {number} workers lived")
    problems += add_up(manager, directory, number, produced)
    if not (seats.acquire(timeout=LIMIT) and seats.acquire(timeout=LIMIT)):
        problems.append("permits are lost")
    if seats.acquire(timeout=0.0):
        problems.append("permits were made up")
    if not taken or final_wait > LIMIT:
        problems.append(f"the last lock took {final_wait:.2f} s")
    print(f"the lock of the last dead holder was free after {final_wait * 1000:.1f} ms")
    manager.shutdown()
    return problems


def add_up(manager: Any, directory: Path, workers: int, produced: int) -> list[str]:
    problems = [f"waits: {wait}" for wait in manager.list("waits")]
    total = sum(manager.dict("accounts").values())
    if total != ACCOUNTS * 1000:
        problems.append(f"accounts add up to {total}")
    counted = acknowledged = 0
    for number in range(workers):
        path = directory / f"ledger-{number}"
        if path.exists() and path.stat().st_size:
            one, two = struct.unpack("QQ", path.read_bytes())
            counted, acknowledged = counted + one, acknowledged + two
    hits = manager.counter("hits").get()
    if not counted <= hits <= counted + workers:
        problems.append(f"{hits} counted, {counted} known to be committed")
    jobs, done = manager.Queue("jobs"), manager.set("done")
    returned = 0
    while True:
        try:
            with jobs.get(timeout=0.0, ack=True) as item:
                if not done.add(item):
                    problems.append(f"item {item} came twice")
        except queue.Empty:
            break
        returned += 1
    missing = set(range(produced)) - done.copy()
    if missing:
        problems.append(f"{len(missing)} items lost: {sorted(missing)[:5]}")
    if not jobs.join(timeout=0.0):
        problems.append("unfinished tasks are left")
    print(
        f"accounts: {total} (expected {ACCOUNTS * 1000}); counted {hits}, known to be committed "
        f"{counted}; items {produced} in, {acknowledged} acknowledged before the end, "
        f"{returned} still there, {len(missing)} lost"
    )
    return problems


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--disk", action="store_true", help="in the temporary directory instead")
    arguments = parser.parse_args()
    place = None if arguments.disk else "/dev/shm"
    with tempfile.TemporaryDirectory(dir=place) as directory:
        path = os.path.join(directory, "state")
        problems = torture(path, Path(directory), arguments.kills, 1_000_000, arguments.seed)
        from lmdb import verify

        problems += verify.verify(path)  # type: ignore[no-untyped-call]
        print("every page of the file is sound" if not problems else "")
    for problem in problems:
        print("PROBLEM:", problem)
    print("nothing corrupt, nothing lost, nobody stuck" if not problems else "FAILED")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
