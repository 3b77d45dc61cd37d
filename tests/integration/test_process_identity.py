"""Who is who: statistics, trees, and what `manycore ps` shows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import manycore
from manycore import Process
from manycore.base import identity, template
from process_programs import PATIENCE, begin, eventually


def with_threads(ready: Any) -> None:
    kept = open(os.devnull)  # noqa: SIM115
    stop = threading.Event()
    for name in ("fetcher", "writer"):
        threading.Thread(target=stop.wait, name=name, daemon=True).start()
    program = subprocess.Popen(["sleep", "60"])
    block = bytearray(30_000_000)
    while threading.active_count() < 3:  # the table has them a moment after start()
        time.sleep(0.001)
    ready.send((program.pid, [(t.name, t.ident, t.native_id) for t in threading.enumerate()]))
    stop.wait(60)
    del block
    kept.close()


class TestStatistics:
    @pytest.mark.parametrize("method", ["template", "fork", "spawn"])
    def test_of_a_process(self, method: str) -> None:
        """They show the CPU, memory, threads, files and children that the process has."""
        ours, theirs = manycore.Pipe()
        began = time.time()
        process = Process(
            target=with_threads, args=(theirs,), name="busy", daemon=True, start_method=method
        )
        process.start()
        program, threads = ours.recv()
        assert eventually(lambda: process.statistics().state == "sleeping")
        now = process.statistics()
        assert (now.pid, now.name) == (process.pid, "busy")
        assert began - 1 < now.started < time.time() + 1
        assert 0 <= now.age < PATIENCE
        assert 0 <= now.cpu_seconds < PATIENCE
        assert now.rss > 30_000_000
        assert now.uss is not None
        assert 30_000_000 < now.uss <= now.rss
        assert sorted((t.name, t.ident, t.native_id) for t in now.threads) == sorted(threads)
        assert now.open_files is not None
        assert now.open_files >= 4
        assert now.children == (program,)
        process.stop()
        ours.close()
        theirs.close()

    def test_cpu_seconds_grow(self) -> None:
        """A process that works uses CPU time, and statistics show it while it hangs in C code."""
        with Process(target=pow, args=(3, 10**9), daemon=True) as process:
            assert eventually(lambda: process.statistics().cpu_seconds > 0.1)
            assert process.statistics().threads[0].cpu_seconds > 0.1

    def test_threads_that_ended_are_gone(self) -> None:
        """A thread is shown from its start to its end."""
        ours, theirs = manycore.Pipe()

        def come_and_go(pipe: Any) -> None:
            stop = threading.Event()
            thread = threading.Thread(target=stop.wait, name="brief", daemon=True)
            thread.start()
            pipe.send(1)
            pipe.recv()
            stop.set()
            thread.join()
            pipe.send(2)
            pipe.recv()

        process = Process(target=come_and_go, args=(theirs,), daemon=True)
        process.start()
        ours.recv()

        def names() -> list[str]:
            return [thread.name for thread in process.statistics().threads]

        # Python adds a thread to its table a moment after start() has returned
        assert eventually(lambda: names() == ["MainThread", "brief"])
        ours.send(0)
        ours.recv()
        # the kernel shows a thread until it has ended there too
        assert eventually(lambda: names() == ["MainThread"])
        ours.send(0)
        process.join()
        ours.close()
        theirs.close()

    def test_of_one_that_has_ended(self) -> None:
        """What has ended has no statistics."""
        process = Process(target=int, name="brief")
        process.start()
        process.join()
        with pytest.raises(ProcessLookupError, match=r"brief .* has ended"):
            process.statistics()

    def test_a_forked_copy_is_not_taken_for_the_original(self) -> None:
        """A copy of a process does not write into what the process says of itself."""

        def fork_and_thread() -> str:
            pid = os.fork()
            if pid == 0:
                threading.Thread(target=int, name="intruder").start()
                os._exit(0 if identity.read(os.getpid()) is None else 1)
            _, status = os.waitpid(pid, 0)
            said = identity.read(os.getpid()) or {}
            return f"{status} {[name for name, *_ in said['threads']]}"

        process = Process(target=fork_and_thread)
        process.start()
        assert process.result() == "0 ['MainThread']"
        process.join()


class TestTree:
    def test_it_shows_the_programs_view(self) -> None:
        """A process stands under the one that started it, with the programs it started."""
        ours, theirs = manycore.Pipe()

        def nest(pipe: Any) -> None:
            with Process(target=time.sleep, args=(60,), name="inner") as inner:
                pipe.send(inner.pid)
                time.sleep(60)

        with Process(target=nest, args=(theirs,), name="outer") as outer:
            inner = ours.recv()
            root = manycore.tree()
            assert (root.pid, root.role) == (os.getpid(), "program")
            by_pid = {node.pid: node for node in root.walk()}
            assert by_pid[template.current().pid].role == "template"
            assert (by_pid[inner].name, by_pid[inner].role) == ("inner", "process")
            assert inner in [node.pid for node in by_pid[outer.pid or 0].children]
            assert outer.pid in [node.pid for node in root.children]
            assert by_pid[inner].rss > 1_000_000
        ours.close()
        theirs.close()

    def test_of_nobody(self) -> None:
        """There is no tree of a process that is not there."""
        with pytest.raises(ProcessLookupError):
            manycore.tree(2**22 + 1)


PROGRAM = """
    import time
    from manycore import Process
    processes = [Process(target=time.sleep, args=(60,), name=name, daemon=daemon)
                 for name, daemon in (("ps-plain", False), ("ps-daemon", True))]
    for process in processes:
        process.start()
    print("up", flush=True)
    try:
        time.sleep(60)
    finally:
        processes[0].kill()
"""


def ps(*flags: str) -> str:
    command = [sys.executable, "-m", "manycore", "ps", *flags]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=True
    ).stdout


def nodes(trees: list[Any]) -> Iterator[Any]:
    for node in trees:
        yield node
        yield from nodes(node["children"])


class TestCommand:
    def test_ps(self) -> None:
        """`manycore ps` shows a program's processes as a tree, with role, age, CPU and memory."""
        program = begin(PROGRAM)
        try:
            shown_now = nodes(json.loads(ps("--json")))
            found = next(node for node in shown_now if node["pid"] == program.pid)
            assert found["role"] == "program"
            shown = {(node["role"], node["name"], node["daemon"]) for node in found["children"]}
            assert ("process", "ps-plain", False) in shown
            assert ("process", "ps-daemon", True) in shown
            assert {"template"} == {role for role, *_ in shown} - {"process"}
            assert all(node["age"] >= 0 and node["rss"] > 0 for node in found["children"])
            lines = ps().splitlines()
            assert lines[0].split() == ["PID", "AGE", "CPU", "MEMORY", "PROCESS"]
            place = [line.split()[0] for line in lines].index(str(program.pid))
            below = "\n".join(lines[place : place + 4])
            assert "process ps-plain" in below
            assert "process ps-daemon, daemon" in below
        finally:
            program.send_signal(signal.SIGINT)
            program.communicate(timeout=PATIENCE)

    def test_a_program_that_serves(self) -> None:
        """Its workers are shown below it."""
        program = begin("""
            import manycore
            print("up", flush=True)
            manycore.serve(print, bind="127.0.0.1:0", workers=2)
        """)

        def workers() -> list[str]:
            roots = [node for node in json.loads(ps("--json")) if node["pid"] == program.pid]
            return [child["role"] for node in roots for child in node["children"]]

        try:
            assert eventually(lambda: workers() == ["worker"] * 2)
        finally:
            program.send_signal(signal.SIGINT)
            program.communicate(timeout=PATIENCE)

    def test_titles(self) -> None:
        """A process's title says who it is, for every tool that shows command lines."""
        pytest.importorskip("setproctitle")

        def title(pid: int) -> str:
            with open(f"/proc/{pid}/cmdline") as file:
                return file.read().rstrip("\0")

        with Process(target=time.sleep, args=(60,), name="indexer") as process:
            assert eventually(lambda: title(process.pid or 0) == "manycore: process indexer")
            expected = f"manycore: template of {os.getpid()}"
            assert eventually(lambda: title(template.current().pid) == expected)
