"""Sharing data between processes: a manager's list is one list for all of them.

Run it: python examples/process_share.py
"""

from typing import Any

import manycore as multiprocessing
from manycore import Manager


def func(shared: Any) -> None:
    shared.append(111)


if __name__ == "__main__":
    manager = Manager()
    shared = manager.list()
    print(shared)
    p = multiprocessing.Process(target=func, args=(shared,))
    p.start()
    p.join()
    print(shared)
