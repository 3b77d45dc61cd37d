"""A pool program as it is written for `multiprocessing`: only the import is another one.

Run it: python examples/pool_tasks.py
"""

import time

from manycore import Pool, ThreadPool


def func(i):
    print("{}-------555".format(i))
    time.sleep(2)
    return i


def print_back(*args, **kwargs):
    print("done", args, kwargs)


pool = Pool(6)  # as many as there are CPUs when omitted

for i in range(5):
    pool.apply_async(func=func, args=(i,), callback=print_back)

pool.close()  # no more tasks
pool.join()  # all of them are done
print("the end")


p = ThreadPool(3)
async_result = p.apply_async(func, (7,))
print(async_result.get())
p.close()
p.join()
