"""A list that a child process appends to: the usual program, with only the import changed."""

import multiprocessing

from manycore import Manager


def add(found):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201  # as people write it
    found.append(111)


if __name__ == "__main__":
    manager = Manager()  # starts no process
    found = manager.list()  # what is here is seen by every process
    print(found)
    process = multiprocessing.Process(target=add, args=(found,))
    process.start()
    process.join()
    print(found)
