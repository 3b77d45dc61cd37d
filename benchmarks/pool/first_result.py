"""The first result of a pool: manycore's beside the standard library's, in turns, in one run.

Run it from the repository:  python benchmarks/pool/first_result.py

Cold: a fresh interpreter makes its first pool of two workers and asks for one result. Warm: the
same program has made a pool before. What an interpreter needs to start, and to import the library,
is not counted. Bytecode is compiled, as an installed package has it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile

WAYS = ("manycore", "fork", "forkserver", "spawn")
POOLS = 4  # a program: the first is cold, the others are warm

PROGRAM = """
import json, sys, time
way = sys.argv[1]
if way == "manycore":
    import manycore
    make = lambda: manycore.Pool(2)
else:
    import multiprocessing
    context = multiprocessing.get_context(way)
    make = lambda: context.Pool(2)
if __name__ == "__main__":
    found = []
    for _ in range(int(sys.argv[2])):
        began = time.perf_counter()
        with make() as pool:
            assert pool.apply(abs, (-1,)) == 1
            found.append((time.perf_counter() - began) * 1e3)
    print(json.dumps(found))
"""


def milliseconds(way: str, path: str, environment: dict[str, str]) -> list[float]:
    command = [sys.executable, path, way, str(POOLS)]
    output = subprocess.run(
        command, env=environment, check=True, capture_output=True, timeout=60
    ).stdout
    found: list[float] = json.loads(output)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    cold: dict[str, list[float]] = {way: [] for way in WAYS}
    warm: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "program.py")
        with open(path, "w") as file:
            file.write(PROGRAM)
        environment = os.environ | {"PYTHONPYCACHEPREFIX": directory}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for way in WAYS:  # which writes the bytecode
            milliseconds(way, path, environment)
        for _ in range(options.rounds):
            for way in WAYS:
                first, *others = milliseconds(way, path, environment)
                cold[way].append(first)
                warm[way].extend(others)
    print(f"Python {platform.python_version()}, 2 workers, {options.rounds} rounds in turns")
    print("| ms to the first result, median | manycore | fork | forkserver | spawn |")
    print("|---|---|---|---|---|")
    for title, found in (("of the first pool", cold), ("of a later one", warm)):
        values = " | ".join(f"{statistics.median(found[way]):.1f}" for way in WAYS)
        print(f"| {title} | {values} |")


if __name__ == "__main__":
    main()
