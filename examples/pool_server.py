"""A server made of pools, as it is written for `multiprocessing`: only the import is another one.

In each process of a pool, a pool of threads answers connections. `manycore serve` does it better:
this one answers as many connections at a time as it has threads, and no more.

Run it: python examples/pool_server.py [PORT]
"""

import socket
import sys

from manycore import Pool, ThreadPool, cpu_count


def worker_thread(conn):
    while True:
        recv_data = conn.recv(1000)
        if recv_data:
            conn.send(recv_data)
        else:
            conn.close()
            break


def worker_process(server):
    pool = ThreadPool(cpu_count())
    while True:
        conn, addr = server.accept()
        pool.apply_async(worker_thread, args=(conn,))


if __name__ == "__main__":
    server = socket.socket()
    server.bind(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8888))
    server.listen(1000)
    print(server.getsockname()[1], flush=True)
    n = cpu_count()
    pool = Pool(n)
    for i in range(n):  # each CPU gets a process
        pool.apply_async(func=worker_process, args=(server,))
        pool.apply_async(func=worker_process, args=(server,))
    pool.close()
    pool.join()
