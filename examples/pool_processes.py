"""A pool of processes: tasks, their results, and a function that is called back.

Run it: python examples/pool_processes.py
"""

import time

from manycore import Pool


def func(i: int) -> int:
    print(f"{i}-------555", flush=True)
    time.sleep(0.2)
    return i


def print_back(*args: object, **kwargs: object) -> None:
    print(f"done {args} {kwargs}")


pool = Pool(6)  # as many as there are CPUs when omitted

for i in range(5):
    pool.apply_async(func=func, args=(i,), callback=print_back)

pool.close()  # no more tasks
pool.join()  # all of them are done
print("the end")

p = Pool(3)
async_result = p.apply_async(func, (7,))
print(async_result.get())
p.close()
p.join()
