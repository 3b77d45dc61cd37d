"""`manycore serve`, as a user and a service manager meet it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from command import TARGETS, Served, children, is_alive, serve
from eventually import eventually


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def exchange(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    return client.recv(1000)


def owner(client: socket.socket) -> int:
    """Reads which worker serves a client of `named`."""
    return int(client.recv(8, socket.MSG_WAITALL))


def clients_of_every_worker(served: Served, count: int) -> dict[int, socket.socket]:
    """Connects until each worker has a client; gives one client a worker."""
    found: dict[int, socket.socket] = {}

    def found_all() -> bool:
        client = served.connect()
        pid = owner(client)
        if pid in found:
            client.close()
        found.setdefault(pid, client)
        return len(found) == count

    eventually(found_all, within=5, what=lambda: f"only {found} take connections")
    return found


# What a user gets.


def test_the_ready_line_names_address_workers_threads_and_pid(log: Path) -> None:
    """One line says all that is needed to use the server."""
    with serve("echo.py:handle", "--workers", "2", "--threads", "7", log=log) as served:
        line = served.await_log("ready: ")
        host, port = served.address
        assert f"echo.py:handle on {host}:{port}, 2 workers with up to 7 threads each" in line
        assert f"pid {served.pid}" in line
        assert port != 0
        with served.connect() as client:
            assert exchange(client, b"hello") == b"hello"


def test_there_is_a_worker_for_each_usable_cpu(log: Path) -> None:
    """With default settings the workers follow the affinity."""
    with serve("echo.py:handle", log=log) as served:
        assert len(served.workers()) == len(os.sched_getaffinity(0))


def test_a_handful_of_threads_does_not_stop_at_the_fourth_client(log: Path) -> None:
    """Hundreds of clients that stay connected are all answered."""
    with serve("echo.py:handle", "--workers", "2", log=log) as served:
        clients = [served.connect() for _ in range(300)]
        for client in clients:
            client.sendall(b"x")
        assert [client.recv(10) for client in clients] == [b"x"] * 300
        for client in clients:
            client.close()


@pytest.mark.parametrize(
    ("target", "said", "answer"),
    [
        ("echo:handle", b"module", b"module"),
        ("echo.py:Lines", b"lines\n", b"LINES\n"),
        ("echo.py:Nested.greet", b"", b"hello"),
        ("./echo.py:with_address", b"", b"('127.0.0.1', "),
    ],
)
def test_forms_of_targets(log: Path, target: str, said: bytes, answer: bytes) -> None:
    """Modules, files, dotted names, request handlers and callable objects are served."""
    with serve(target, "--workers", "1", log=log) as served, served.connect() as client:
        client.sendall(said)
        assert client.recv(1000).startswith(answer)


def test_titles_tell_who_is_who(log: Path) -> None:
    """`ps` shows the supervisor with its target, and each worker with its number."""
    pytest.importorskip("setproctitle")
    with serve("echo.py:handle", "--workers", "2", log=log) as served:
        titles = {psutil.Process(pid).cmdline()[0] for pid in [served.pid, *served.workers()]}
        assert titles == {
            "manycore: supervisor echo.py:handle",
            "manycore: worker 1/2",
            "manycore: worker 2/2",
        }


def test_a_worker_carries_nothing_that_it_does_not_need(log: Path) -> None:
    """The command's libraries are not in the workers, nor are the supervisor's descriptors."""
    with serve("echo.py:modules", "--workers", "1", log=log) as served, served.connect() as client:
        modules = set(client.makefile("r").read().split())
        assert not modules & {"click", "rich", "tomllib", "cloudpickle", "manycore.cli"}
    with (
        serve("echo.py:open_descriptors", "--workers", "2", log=log) as served,
        served.connect() as client,
    ):
        names = client.makefile("r").read().splitlines()
        sockets = sum(name.startswith("socket:") for name in names)
        # the listener, the client, the notice of new places; both ends of each place's inbox
        assert sockets == 3 + 2 * 2
        assert sum("pidfd" in name for name in names) == 0
        assert sum(name.startswith("pipe:") for name in names) == 4  # lifeline, report, signals


# Where it listens.


def test_ipv6(log: Path) -> None:
    """An IPv6 address stands in brackets."""
    with serve("echo.py:handle", "-w", "1", log=log, bind="[::1]:0") as served:
        assert served.address[0] == "::1"
        with served.connect() as client:
            assert exchange(client, b"six") == b"six"


def test_a_unix_socket_is_made_and_removed(log: Path, tmp_path: Path) -> None:
    """The file is there while the server is, and not after."""
    path = tmp_path / "echo.sock"
    with serve("echo.py:handle", "-w", "1", log=log, bind=f"unix:{path}") as served:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert exchange(client, b"unix") == b"unix"
        served.send(signal.SIGTERM)
        assert served.wait() == 0
        assert not path.exists()


def test_a_stale_unix_socket_is_replaced(log: Path, tmp_path: Path) -> None:
    """What a killed server left behind does not stop the next one."""
    path = tmp_path / "echo.sock"
    with serve("echo.py:handle", "-w", "1", log=log, bind=f"unix:{path}") as served:
        served.send(signal.SIGKILL)
        served.wait()
        assert path.exists()
    with serve("echo.py:handle", "-w", "1", log=log, bind=f"unix:{path}"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert exchange(client, b"again") == b"again"
    path.unlink()


def test_a_live_unix_socket_is_refused(log: Path, tmp_path: Path) -> None:
    """A second server does not take the first one's file, nor remove it."""
    path, second_log = tmp_path / "echo.sock", tmp_path / "second"
    with serve("echo.py:handle", "-w", "1", log=log, bind=f"unix:{path}") as first:
        with serve("echo.py:handle", log=second_log, bind=f"unix:{path}", ready=False) as second:
            assert second.wait() == 1
            assert "another server listens there" in second.text
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert exchange(client, b"still") == b"still"
        first.send(signal.SIGTERM)
        first.wait()


def test_several_addresses(log: Path, tmp_path: Path) -> None:
    """One server listens in several places."""
    path = tmp_path / "echo.sock"
    arguments = ["-w", "1", "--bind", f"unix:{path}", "--bind", "127.0.0.1:0"]
    with serve("echo.py:handle", *arguments, log=log) as served:
        assert served.await_log("ready: ").count("127.0.0.1:") == 2
        with served.connect() as one, socket.socket(socket.AF_UNIX) as other:
            other.connect(str(path))
            assert exchange(one, b"one") == b"one"
            assert exchange(other, b"other") == b"other"
        served.send(signal.SIGTERM)
        assert served.wait() == 0


def test_an_inherited_descriptor(log: Path) -> None:
    """A listening socket that is open already is served, and not closed for its owner."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd, port = listener.fileno(), listener.getsockname()[1]
        bind = f"fd://{fd}"
        with serve("echo.py:handle", "-w", "1", log=log, bind=bind, fds=(fd,)) as served:
            with socket.create_connection(listener.getsockname()) as client:
                assert exchange(client, b"inherited") == b"inherited"
            served.send(signal.SIGTERM)
            assert served.wait() == 0
        with socket.create_connection(listener.getsockname()):
            pass  # it is queued, for whoever listens next
    with pytest.raises(ConnectionRefusedError):  # and no process of the server keeps it
        socket.create_connection(("127.0.0.1", port))


def test_systemd_sockets(log: Path) -> None:
    """Sockets that the service manager passed take the place of the default address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        become = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True);"
            "os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1'};"
            "os.execv(sys.executable, [sys.executable, '-m', 'manycore', *sys.argv[2:]])"
        )
        command = [sys.executable, "-c", become, str(listener.fileno())]
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [*command, "serve", "echo.py:handle", "-w", "1"],
                cwd=TARGETS,
                stderr=stderr,
                pass_fds=(listener.fileno(),),
            )
        try:
            with socket.create_connection(listener.getsockname()) as client:
                assert exchange(client, b"activated") == b"activated"
            assert ":8000" not in log.read_text()
        finally:
            process.terminate()
            assert process.wait(10) == 0


# What clients can do.


def test_what_a_handler_raises_ends_its_connection_only(log: Path) -> None:
    """Errors, exits and interrupts are logged with their traceback, and others go on."""
    with serve("echo.py:fails", "-w", "1", log=log) as served, served.connect() as bystander:
        for word in (b"error", b"exit", b"interrupt"):
            with served.connect() as client:
                assert exchange(client, word) == b""
        served.await_log("ValueError: the client asked for it")
        served.await_log("SystemExit: 3")
        served.await_log("KeyboardInterrupt")
        assert served.text.count("Traceback") == 3
        assert exchange(bystander, b"here") == b"here"


def test_clients_that_reset_half_close_or_say_nothing_harm_nobody(log: Path) -> None:
    """Whatever clients do, the next one is served."""
    with serve("echo.py:handle", "-w", "1", log=log) as served:
        silent = [served.connect() for _ in range(20)]
        for _ in range(20):
            with served.connect() as rude:
                rude.sendall(b"x" * 1000)
                rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        with served.connect() as half:
            half.sendall(b"last words")
            half.shutdown(socket.SHUT_WR)
            assert half.makefile("rb").read() == b"last words"
        with served.connect() as client:
            assert exchange(client, b"fine") == b"fine"
        for client in silent:
            client.close()
        assert "Traceback" not in served.text


def test_a_handler_that_forks_or_closes_what_is_not_its(log: Path) -> None:
    """A fork's child is no second worker; a closed descriptor costs no thread."""
    arguments = ["-w", "1", "--threads", "1"]
    with serve("echo.py:forks", *arguments, log=log) as served:
        for _ in range(3):
            with served.connect() as client:
                assert client.makefile("rb").read() == b"childparent"
        assert "Traceback" not in served.text
    with serve("echo.py:closes_the_descriptor", *arguments, log=log) as served:
        for _ in range(3):
            with served.connect() as client:
                assert client.makefile("rb").read() == b"bye"
        assert "Traceback" not in served.text


@pytest.mark.parametrize("mode", ["threads", "greenlets"])
def test_what_a_forked_child_is_told_is_not_the_workers(mode: str, log: Path) -> None:
    """A handler's child ends by the signal that it gets, and the worker serves on."""
    with serve("echo.py:ends_a_child", "-w", "1", "--mode", mode, log=log) as served:
        for _ in range(3):
            with served.connect() as client:
                assert client.makefile("rb").read() == b"{-15} %d" % served.workers()[0]
        assert "exited" not in served.text


def test_who_finds_no_free_thread_waits_in_the_queue(log: Path) -> None:
    """With one thread the second client is served once the first has gone, and not lost."""
    with serve("echo.py:handle", "-w", "1", "--threads", "1", log=log) as served:
        first, second = served.connect(), served.connect()
        assert exchange(first, b"1") == b"1"
        second.sendall(b"2")
        second.settimeout(0.2)
        with pytest.raises(TimeoutError):
            second.recv(1)
        first.close()
        second.settimeout(10)
        assert second.recv(1) == b"2"
        second.close()


# Workers and their lives.


def test_a_killed_worker_is_replaced_and_its_siblings_stay(log: Path) -> None:
    """Only the victim's connections break; a new worker takes connections."""
    with serve("echo.py:named", "-w", "2", log=log) as served:
        (victim, lost), (sibling, kept) = clients_of_every_worker(served, 2).items()
        os.kill(victim, signal.SIGKILL)
        assert lost.recv(1) == b""
        served.await_log(f"(pid {victim}) was killed by SIGKILL")
        served.await_log("took 1 open connections with it")
        assert exchange(kept, b"kept") == b"kept"
        eventually(lambda: len(served.workers()) == 2, within=2)
        assert sibling in served.workers()
        for client in clients_of_every_worker(served, 2).values():
            client.close()
        lost.close()
        kept.close()


def test_workers_that_die_young_are_restarted_more_and_more_slowly(log: Path) -> None:
    """A crash loop burns no CPU, and ends when the cause does."""
    with serve("echo.py:fails", "-w", "1", log=log) as served:
        for _ in range(4):
            with served.connect() as client:
                assert exchange(client, b"die") == b""
        served.await_log("the next one starts in 0.1 s")
        served.await_log("the next one starts in 0.2 s")
        with served.connect() as client:
            assert exchange(client, b"alive") == b"alive"


def test_a_worker_told_to_stop_is_replaced(log: Path) -> None:
    """TERM to a worker drains it: its connection finishes, and a new worker comes."""
    with serve("echo.py:named", "-w", "1", log=log) as served, served.connect() as client:
        worker = owner(client)
        os.kill(worker, signal.SIGTERM)
        assert exchange(client, b"finish") == b"finish"
        client.close()
        served.await_log(f"(pid {worker}) exited 0")
        with served.connect() as newcomer:
            assert owner(newcomer) != worker


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN])
def test_signals_for_the_supervisor_do_not_harm_a_worker(log: Path, signum: signal.Signals) -> None:
    """`pkill` reaches every process of the server."""
    with serve("echo.py:named", "-w", "1", log=log) as served, served.connect() as client:
        worker = owner(client)
        os.kill(worker, signum)
        assert exchange(client, b"unharmed") == b"unharmed"
        assert is_alive(worker)


def test_everything_ends_with_a_killed_supervisor(log: Path) -> None:
    """Kill -9 of the supervisor ends busy workers, and the programs that handlers started."""
    with serve("echo.py:starts_a_program", "-w", "1", log=log) as served:
        client = served.connect()
        said = client.recv(16, socket.MSG_WAITALL)
        worker, program = int(said[:8]), int(said[8:])
        client.sendall(b"x")  # now it holds the interpreter's lock, in C
        assert is_alive(worker)
        assert is_alive(program)
        served.send(signal.SIGKILL)
        eventually(lambda: not is_alive(worker) and not is_alive(program), within=1)
        client.close()


def test_a_killed_worker_takes_its_programs_with_it(log: Path) -> None:
    """What a handler started does not outlive its worker."""
    with serve("echo.py:starts_a_program", "-w", "1", log=log) as served:
        client = served.connect()
        said = client.recv(16, socket.MSG_WAITALL)
        worker, program = int(said[:8]), int(said[8:])
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: not is_alive(program), within=1)
        client.close()


def test_the_target_is_loaded_in_the_workers_only(log: Path) -> None:
    """The supervisor stays small and single-threaded, whatever the target does."""
    with serve("echo.py:handle", "-w", "2", log=log) as served:
        assert psutil.Process(served.pid).num_threads() == 1


def test_nobody_wakes_up_for_nothing(log: Path) -> None:
    """While nobody connects, no process of the server runs, not for a moment."""

    def wakeups() -> int:
        pids = [served.pid, *served.workers()]
        return sum(sum(psutil.Process(pid).num_ctx_switches()) for pid in pids)

    with serve("echo.py:handle", "-w", "2", log=log) as served:
        with served.connect() as client:
            assert exchange(client, b"x") == b"x"
        eventually(lambda: stays_the_same(wakeups), within=10)  # its thread retires
        before = wakeups()
        threading.Event().wait(2)
        assert wakeups() == before


def stays_the_same(measure: Callable[[], int]) -> bool:
    before = measure()
    threading.Event().wait(1)
    return measure() == before


@pytest.mark.parametrize("limit", [{"RLIMIT_NOFILE": 40}, {"RLIMIT_AS": 330_000_000}])
def test_who_finds_no_descriptor_or_thread_waits_in_the_queue(
    log: Path, limit: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When something runs out, clients wait until somebody has gone; one line says so."""
    monkeypatch.setenv("LIMIT", json.dumps(limit))
    with serve("limited.py:handle", "-w", "1", log=log) as served:
        clients = [served.connect(timeout=20) for _ in range(60)]
        for client in clients:
            client.sendall(b"x")
        served.await_log("cannot accept for now")
        for client in clients:
            assert client.recv(1) == b"x"
            client.close()
        assert served.text.count("cannot accept for now") == 1


# Stopping.


def test_term_lets_open_connections_finish_and_serves_the_queue(log: Path) -> None:
    """Whoever connected before TERM is served to the end; then the exit code is 0."""
    with serve("echo.py:handle", "-w", "1", "--threads", "1", log=log) as served:
        first = served.connect()
        assert exchange(first, b"first") == b"first"
        queued = [served.connect() for _ in range(10)]
        for client in queued:
            client.sendall(b"queued")
        served.send(signal.SIGTERM)
        served.await_log("stopping: got SIGTERM")
        assert exchange(first, b"more") == b"more"
        first.close()
        for client in queued:
            assert client.recv(10) == b"queued"
            client.close()
        assert served.wait() == 0


def test_term_ends_what_outlasts_the_grace_period(log: Path) -> None:
    """A connection that never ends is ended; the exit code is 0 all the same."""
    arguments = ["-w", "2", "--graceful-timeout", "0.3"]
    with serve("echo.py:handle", *arguments, log=log) as served, served.connect() as client:
        assert exchange(client, b"x") == b"x"
        served.send(signal.SIGTERM)
        assert client.recv(1) == b""
        assert served.wait() == 0
        assert "ended 1 connections that were still open" in served.text


def test_term_does_not_wait_for_idle_workers(log: Path) -> None:
    """With nothing open, the end comes at once."""
    with serve("echo.py:handle", "-w", "2", log=log) as served:
        served.send(signal.SIGTERM)
        assert served.wait(2) == 0


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_are_quick(log: Path, signum: signal.Signals) -> None:
    """Open connections are ended at once."""
    with serve("echo.py:handle", "-w", "2", log=log) as served, served.connect() as client:
        assert exchange(client, b"x") == b"x"
        served.send(signum)
        assert client.recv(1) == b""
        assert served.wait(2) == 0


def test_a_handler_that_never_returns_does_not_hold_up_a_quick_stop(log: Path) -> None:
    """It gets a moment; then its worker ends without it."""
    with serve("echo.py:stubborn", "-w", "1", log=log) as served, served.connect() as client:
        worker = owner(client)
        program = eventually(lambda: children(worker), within=5)[0]
        served.send(signal.SIGINT)
        assert served.wait(5) == 0
        eventually(lambda: not is_alive(worker) and not is_alive(program), within=1)


def test_a_second_int_kills_at_once(log: Path) -> None:
    """Whoever presses Ctrl-C twice does not want to wait."""
    with serve("echo.py:stubborn", "-w", "1", log=log) as served, served.connect() as client:
        owner(client)
        served.send(signal.SIGINT)
        served.await_log("stopping: got SIGINT")
        served.send(signal.SIGINT)
        assert served.wait(0.7) == 0
        assert "was killed by SIGKILL" in served.text


def test_int_cuts_a_graceful_stop_short(log: Path) -> None:
    """TERM, then INT: the second is the more urgent."""
    with serve("echo.py:handle", "-w", "1", log=log) as served, served.connect() as client:
        assert exchange(client, b"x") == b"x"
        served.send(signal.SIGTERM)
        served.await_log("stopping: got SIGTERM")
        assert exchange(client, b"y") == b"y"
        served.send(signal.SIGINT)
        assert client.recv(1) == b""
        assert served.wait(3) == 0


def test_a_signal_without_a_meaning_is_ignored_with_a_line(log: Path) -> None:
    """Without a log file USR1 must not kill a server whose operator expects it to do something."""
    with serve("echo.py:handle", "-w", "1", log=log) as served:
        served.send(signal.SIGUSR1)
        served.await_log("ignored SIGUSR1")
        with served.connect() as client:
            assert exchange(client, b"on") == b"on"


# Settings and logs.


def test_variables_and_files_are_settings_too(log: Path, tmp_path: Path) -> None:
    """A variable overrides the file, a flag the variable."""
    (tmp_path / "echo.py").write_text((TARGETS / "echo.py").read_text())
    (tmp_path / "manycore.toml").write_text("workers = 3\nthreads = 5\nlog-format = 'json'\n")
    with serve(
        "echo.py:handle", "--threads", "6", log=log, cwd=tmp_path, MANYCORE_WORKERS="1"
    ) as s:
        entry = json.loads(s.await_log("ready: "))
        assert "1 workers with up to 6 threads each" in entry["message"]
        assert entry["level"] == "info"
        assert entry["pid"] == s.pid


def test_json_logs_carry_the_traceback(log: Path) -> None:
    """One event is one line, whatever happened."""
    with serve("echo.py:fails", "-w", "1", "--log-format", "json", log=log) as served:
        with served.connect() as client:
            assert exchange(client, b"error") == b""
        entry = json.loads(served.await_log("the handler failed"))
        assert "ValueError: the client asked for it" in entry["traceback"]
        assert all(json.loads(line) for line in served.text.splitlines())


def test_nobody_reads_standard_error() -> None:
    """A full pipe does not stop the server from serving or from stopping."""
    reader, writer = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bind = ["--bind", f"fd://{listener.fileno()}"]
        process = subprocess.Popen(
            [sys.executable, "-m", "manycore", "serve", "echo.py:fails", "-w", "1", *bind],
            cwd=TARGETS,
            stderr=writer,
            pass_fds=(listener.fileno(),),
        )
        try:
            for _ in range(200):  # a traceback each: more than a pipe holds
                with socket.create_connection(listener.getsockname(), timeout=10) as client:
                    assert exchange(client, b"error") == b""
            process.terminate()
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
            os.close(reader)
            os.close(writer)
