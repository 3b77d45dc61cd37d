"""A daemon process ends with its parent, which does not wait for it.

Run it: python examples/process_daemon.py
"""

import time

import manycore as multiprocessing


def func() -> None:
    time.sleep(20)
    print("this is never printed")


if __name__ == "__main__":
    p = multiprocessing.Process(target=func, daemon=True)
    p.daemon = True  # the same, before the start
    p.start()
    time.sleep(0.3)
    print("the parent ends")
