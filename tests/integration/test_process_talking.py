"""Talking: what the standard library offers for it works between manycore's processes."""

from __future__ import annotations

import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any

import pytest

import manycore
from manycore import Process
from process_programs import PATIENCE, result_of, run

METHODS = ["template", "fork", "spawn"]

#: the standard library keeps the file that its first shared value is in
KEPT = [manycore.Value("i"), manycore.Array("d", 100), manycore.Barrier(1)]


@pytest.mark.parametrize("method", METHODS)
class TestByEveryMethod:
    def test_a_pipe(self, method: str) -> None:
        """Both ends of a pipe work, and its end is seen when the process has ended."""
        ours, theirs = manycore.Pipe()
        process = Process(
            target=lambda c: c.send(c.recv() + 1), args=(theirs,), start_method=method
        )
        process.start()
        theirs.close()
        ours.send(1)
        assert ours.recv() == 2
        process.join()
        with pytest.raises(EOFError):
            ours.recv()
        ours.close()

    def test_queues(self, method: str) -> None:
        """Every kind of queue carries objects both ways."""
        for make in (manycore.Queue, manycore.SimpleQueue, manycore.JoinableQueue):
            there, back = make(), make()

            def answer(there: Any, back: Any) -> None:
                back.put([there.get(), os.getpid()])

            process = Process(target=answer, args=(there, back), start_method=method)
            process.start()
            there.put("x" * 100_000)
            assert back.get() == ["x" * 100_000, process.pid]
            process.join()
            for queue in (there, back):
                queue.close()
                if hasattr(queue, "join_thread"):
                    queue.join_thread()

    def test_locks(self, method: str) -> None:
        """A lock that one holds the other cannot take; that holds for each kind."""
        for lock in (
            manycore.Lock(),
            manycore.RLock(),
            manycore.Semaphore(),
            manycore.BoundedSemaphore(1),
        ):
            assert result_of(lambda x: x.acquire(timeout=1), lock, method=method) is True
            # an RLock and a Lock of a holder that has ended stay taken, as ever
            assert lock.acquire(block=False) is False

    def test_events_conditions_and_barriers(self, method: str) -> None:
        """They wake who waits in another process."""
        event, barrier, condition = manycore.Event(), manycore.Barrier(2), manycore.Condition()

        def meet(event: Any, barrier: Any, condition: Any) -> str:
            assert event.wait(PATIENCE)
            barrier.wait(PATIENCE)
            with condition:
                condition.notify_all()
            return "met"

        process = Process(target=meet, args=(event, barrier, condition), start_method=method)
        process.start()
        with condition:
            event.set()
            barrier.wait(PATIENCE)
            assert condition.wait(PATIENCE)
        assert process.result() == "met"
        process.join()

    def test_values_and_arrays(self, method: str) -> None:
        """Shared memory is shared, and its lock guards it."""
        value, array = manycore.Value("i", 1), manycore.Array("d", [1.0, 2.0])

        def change(value: Any, array: Any) -> None:
            with value.get_lock():
                value.value += 1
            array[1] = 5.0

        result_of(change, value, array, method=method)
        assert (value.value, array[:]) == (2, [1.0, 5.0])

    def test_sockets_and_descriptors(self, method: str) -> None:
        """A connected socket and a listening one can be arguments."""
        ours, theirs = socket.socketpair()
        listener = socket.create_server(("127.0.0.1", 0))

        def serve(pair: socket.socket, listener: socket.socket) -> str:
            pair.sendall(b"hello")
            connection, _ = listener.accept()
            with connection:
                return connection.recv(10).decode()

        process = Process(target=serve, args=(theirs, listener), start_method=method)
        process.start()
        theirs.close()
        assert ours.recv(10) == b"hello"
        with socket.create_connection(listener.getsockname()) as client:
            client.sendall(b"there")
            assert process.result() == "there"
        process.join()
        ours.close()
        listener.close()

    def test_classes_of_main_through_a_queue(self, method: str, tmp_path: Path) -> None:
        """Objects of a script's classes go through queues both ways, named or not."""
        program = """
            import sys
            import manycore

            class Task:
                def __init__(self, x):
                    self.x = x

            class Answer(Task):
                pass

            def work(tasks, answers):
                task = tasks.get()
                answers.put(type(task)(task.x + 1))
                import __main__
                answers.put(__main__.Answer(5))

            tasks, answers = manycore.Queue(), manycore.Queue()
            process = manycore.Process(target=work, args=(tasks, answers), start_method=sys.argv[1])
            process.start()
            tasks.put(Task(1))
            first, second = answers.get(timeout=10), answers.get(timeout=10)
            print(type(first) is Task, first.x, type(second) is Answer, second.x)
            process.join()
        """
        done = run(program, method, path=tmp_path)
        assert (done.stdout, done.stderr) == ("True 2 True 5\n", "")


def test_locks_leave_nothing_behind() -> None:
    """Our locks have no name, and no process watches over them."""
    program = """
        import os, manycore
        def named():
            with open("/proc/self/maps") as maps:
                return [line for line in maps if "/sem." in line]
        locks = [manycore.Lock() for _ in range(5)] + [manycore.Queue()]
        process = manycore.Process(target=len, args=(locks,))
        process.start()
        print(process.result(), named())
        from multiprocessing import resource_tracker
        print(resource_tracker._resource_tracker._pid)
        process.join()
        fds = len(os.listdir("/proc/self/fd"))
        del locks, process
        manycore.active_children()
        print(len(os.listdir("/proc/self/fd")) < fds)
    """
    done = run(program)
    assert (done.stdout, done.stderr) == ("6 []\nNone\nTrue\n", "")


def test_what_the_standard_library_made_for_spawn() -> None:
    """A queue and a lock of the standard library's spawn context can be passed."""
    program = """
        import multiprocessing, manycore
        context = multiprocessing.get_context("spawn")
        queue, lock = context.Queue(), context.Lock()
        process = manycore.Process(target=lambda q, l: q.put(l.acquire()), args=(queue, lock))
        process.start()
        print(queue.get(timeout=10), lock.acquire(block=False))
        process.join()
    """
    done = run(program)
    assert (done.stdout, done.stderr) == ("True False\n", "")


def test_ours_in_the_standard_librarys_processes(tmp_path: Path) -> None:
    """Our queues work in processes that the standard library starts, by each of its methods."""
    program = """
        import multiprocessing, manycore

        def work(queue):
            queue.put(1)

        if __name__ == "__main__":
            for method in ("fork", "spawn", "forkserver"):
                queue = manycore.Queue()
                process = multiprocessing.get_context(method).Process(target=work, args=(queue,))
                process.start()
                print(queue.get(timeout=10))
                process.join()
    """
    done = run(program, path=tmp_path)
    assert (done.stdout, done.stderr) == ("1\n1\n1\n", "")


def test_shared_memory_survives_a_process_that_used_it() -> None:
    """A segment that a process attaches to stays its maker's, without a false leak warning."""
    program = """
        from multiprocessing import shared_memory
        import manycore

        def fill(name):
            memory = shared_memory.SharedMemory(name)
            memory.buf[0] = 7
            memory.close()

        memory = shared_memory.SharedMemory(create=True, size=100)
        process = manycore.Process(target=fill, args=(memory.name,))
        process.start()
        process.join()
        again = shared_memory.SharedMemory(memory.name)
        print(process.exitcode, memory.buf[0], again.buf[0])
        again.close()
        memory.close()
        memory.unlink()
    """
    done = run(program)
    assert done.stdout == "0 7 7\n"
    assert "leaked" not in done.stderr


def test_a_manager() -> None:
    """The proxies of a manager can be passed, and work."""
    program = """
        import manycore

        if __name__ == "__main__":
            with manycore.Manager() as manager:
                shared = manager.list()
                process = manycore.Process(target=shared.append, args=(111,))
                process.start()
                process.join()
                print(shared)
    """
    done = run(program)
    assert (done.stdout, done.stderr) == ("[111]\n", "")


def test_many_descriptors_at_once() -> None:
    """More descriptors than one message takes are refused with a clear error."""
    pairs = [socket.socketpair() for _ in range(130)]
    sockets = [end for pair in pairs for end in pair]
    try:
        with pytest.raises(ValueError, match="descriptors are more than 250"):
            Process(target=len, args=(sockets,)).start()
        assert result_of(len, sockets[:200]) == 200
    finally:
        for end in sockets:
            end.close()


def test_names_are_those_of_multiprocessing() -> None:
    """`import manycore as multiprocessing` finds every public name."""
    missing = [name for name in multiprocessing.__all__ if not hasattr(manycore, name)]
    assert missing == []
    assert set(manycore.__all__) <= set(dir(manycore))
    for name in manycore.__all__:
        assert getattr(manycore, name) is not None
