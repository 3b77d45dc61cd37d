"""Creating a process: one call, and its result.

Run it: python examples/process_create.py
"""

import manycore as multiprocessing


def func() -> None:
    print("000")


if __name__ == "__main__":
    p = multiprocessing.Process(target=func)  # what it does: target=, with args= and kwargs=
    p.start()  # it runs from here on
    p.join()
