"""What manycore adds: results, errors that say where, and an end of the whole tree. No guard.

Run it: python examples/process_result.py
"""

import os
import signal
import subprocess
import time

from manycore import Process, WorkerLost


def work(numbers: list[int]) -> float:
    return sum(1 / number for number in numbers)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def start_programs() -> None:
    subprocess.Popen(["sleep", "60"])
    time.sleep(60)


good = Process(target=work, args=([1, 2, 4],))
good.start()
print("result:", good.result(timeout=10))

bad = Process(target=lambda: work([1, 0]))
bad.start()
try:
    bad.result()
except ZeroDivisionError as error:
    print("raised:", error)

lost = Process(target=die, name="unlucky")
lost.start()
try:
    lost.result()
except WorkerLost as error:
    print("lost:", error.name, error.exit)

with Process(target=start_programs) as tree:
    print("state:", tree.is_alive())
print("after the block:", tree.is_alive())
