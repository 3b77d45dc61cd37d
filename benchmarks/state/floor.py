"""What the same records cost in bare LMDB: no container can be faster than its engine.

    python benchmarks/state/floor.py

One writing transaction an operation (a queue's put and get are two), on an environment that is
opened as ours is. No names, types, checks, lengths or waiting: only pickle, begin, put and commit.
Medians of nine rounds; the time from the first operation of any process to the last of all, divided
by the number of operations.
"""

from __future__ import annotations

import pickle
import statistics
import tempfile
from collections.abc import Callable
from typing import Any

import lmdb
from together import measure

ROUNDS = 9
TIMES = 40_000  # operations a round, by all processes together


class Bare:
    """An environment that each process opens for itself when it first uses it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._env: Any = None

    def begin(self) -> Any:
        if self._env is None:
            self._env = lmdb.open(
                self._path,
                map_size=1 << 30,
                sync=False,
                metasync=False,
                writemap=True,
                max_spare_txns=1,
            )
        return self._env.begin(write=True)


def set_one(box: Bare, times: int) -> None:
    for number in range(times):
        value = pickle.dumps(number)
        txn = box.begin()
        txn.put(b"key", value)
        txn.commit()


def append(box: Bare, times: int) -> None:
    """Puts each behind the last one, wherever another process has left that."""
    for number in range(times):
        value = pickle.dumps(number)
        txn = box.begin()
        cursor = txn.cursor()
        last = int.from_bytes(cursor.key(), "big") if cursor.last() else 0
        cursor.put((last + 1).to_bytes(8, "big"), value, append=True)
        txn.commit()


def put_and_get(box: Bare, times: int) -> None:
    """The first one is taken; there is one, for each process has put its own before."""
    for _number in range(times):
        append(box, 1)
        txn = box.begin()
        cursor = txn.cursor()
        cursor.first()
        pickle.loads(cursor.value())
        cursor.delete()
        txn.commit()


OPERATIONS: dict[str, Callable[[Any, int], None]] = {
    "dict set": set_one,
    "list append": append,
    "Queue put+get": put_and_get,
}


def main() -> None:
    print("operation               processes   bare LMDB")
    for name, operation in OPERATIONS.items():
        for processes in (1, 2, 4):
            taken = []
            for _ in range(ROUNDS):
                with tempfile.TemporaryDirectory(dir="/dev/shm") as path:
                    taken.append(measure(operation, Bare(path), TIMES // processes, processes))
            print(f"{name:22} {processes:10} {statistics.median(taken):9.2f} us", flush=True)


if __name__ == "__main__":
    main()
