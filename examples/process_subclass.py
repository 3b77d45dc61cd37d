"""A process as a class: start() calls run() in the new process.

Run it: python examples/process_subclass.py
"""

import time
from typing import Any

import manycore as multiprocessing


class MyProcess(multiprocessing.Process):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(args, kwargs)  # type: ignore[arg-type]  # both are empty here
        print("init...")

    def run(self) -> None:
        print("run...")
        self.task()
        time.sleep(0.1)

    def task(self) -> None:
        print("task...")


if __name__ == "__main__":
    p = MyProcess()
    p.start()
    p.join()
