"""Terminating a process: the parent may end it at any time.

Run it: python examples/process_terminate.py
"""

import time

import manycore as multiprocessing


def func() -> None:
    time.sleep(20)
    print(multiprocessing.current_process())


if __name__ == "__main__":
    p = multiprocessing.Process(target=func)
    p.start()
    time.sleep(0.2)
    p.terminate()
    p.join()
    print(p.exitcode)
