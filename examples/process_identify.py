"""Identifying processes: a process has an id once it has started.

Run it: python examples/process_identify.py
"""

import os
import time

import manycore as multiprocessing


def func() -> None:
    time.sleep(0.2)


if __name__ == "__main__":
    print("main pid", os.getpid())
    print("current_process", multiprocessing.current_process().pid)
    p = multiprocessing.Process(target=func)
    print("before start", p.pid)
    p.start()
    print("after start", p.pid)
    p.join()
