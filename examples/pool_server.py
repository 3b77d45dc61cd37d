"""A server made of pools: in each process of a pool, a pool of threads answers connections.

`manycore.serve` does it better; this shows that pools nest, and that a socket can be an argument.

Run it: python examples/pool_server.py [PORT]
"""

import socket
import sys

from manycore import Pool, ThreadPool, cpu_count


def worker_thread(conn: socket.socket) -> None:
    while True:
        recv_data = conn.recv(1000)
        if recv_data:
            conn.send(recv_data)
        else:
            conn.close()
            break


def worker_process(server: socket.socket) -> None:
    pool = ThreadPool(cpu_count())
    while True:
        conn, _ = server.accept()
        pool.apply_async(worker_thread, args=(conn,))


if __name__ == "__main__":
    server = socket.socket()
    server.bind(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8888))
    server.listen(1000)
    print(server.getsockname()[1], flush=True)
    n = cpu_count()
    pool = Pool(n)
    for _ in range(n):  # each CPU gets a process
        pool.apply_async(func=worker_process, args=(server,))
    pool.close()
    pool.join()
