"""Creating a process by hand: os.fork, which Process spares one.

Run it: python examples/process_fork.py
"""

import os
import time

pid = os.fork()
if pid == 0:  # in the child fork gives 0
    print("I am the child", flush=True)
    time.sleep(0.1)
    os._exit(0)
print("I am the parent", flush=True)
os.waitpid(pid, 0)
