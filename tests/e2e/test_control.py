"""A running server is asked and told things: status, reload, scale, stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from command import Served, run, serve, write_version
from eventually import eventually


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A folder with a target that tests can change."""
    (tmp_path / "code").mkdir()
    write_version(tmp_path / "code", 1)
    return tmp_path / "code"


def ask(*arguments: str) -> Any:
    done = run(*arguments, "-j")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def version(served: Served) -> bytes:
    with served.connect() as client:
        return client.recv(1)


class Load:
    """Clients that connect again and again, each for one exchange."""

    def __init__(self) -> None:
        self.served = 0
        self.broken: list[str] = []


@contextmanager
def load(served: Served, clients: int = 8) -> Iterator[Load]:
    """Keeps a server busy while the block runs."""
    address, result, done = served.address, Load(), threading.Event()

    def play() -> None:
        while not done.is_set():
            try:
                with socket.create_connection(address, timeout=10) as client:
                    client.sendall(b"x")
                    answer = client.recv(10)
            except OSError as error:
                answer = repr(error).encode()
            if len(answer) == 1:
                result.served += 1
            else:
                result.broken.append(repr(answer))

    threads = [threading.Thread(target=play) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield result
    finally:
        done.set()
        for thread in threads:
            thread.join()


# Status.


def test_status_shows_the_server_and_its_workers(log: Path) -> None:
    """As text for people, as JSON for programs."""
    with serve("echo.py:handle", "-w", "2", log=log) as served:
        with served.connect() as client:
            client.sendall(b"x")
            client.recv(1)
            answer = ask("status")
        assert answer["target"] == "echo.py:handle"
        assert answer["pid"] == served.pid
        assert answer["addresses"] == ["{}:{}".format(*served.address)]
        assert (answer["workers"], answer["generation"], answer["reloading"]) == (2, 0, False)
        assert answer["statistics"]["open"] == 1
        workers = answer["statistics"]["workers"]
        assert {worker["pid"] for worker in workers} == set(served.workers())
        text = run("status").stdout
        assert "echo.py:handle on 127.0.0.1:" in text
        assert "serving" in text
        assert str(workers[0]["pid"]) in text


def test_servers_are_found_by_name_or_path(log: Path, tmp_path: Path) -> None:
    """One is found by itself, several by their names, and any by its socket."""
    assert "no server of this user runs" in run("status").stderr
    path = str(tmp_path / "control")
    with serve("echo.py:handle", "-w", "1", "--name", "one", log=log):
        assert ask("status")["name"] == "one"
        with serve("echo.py:handle", "-w", "1", "--name", "two", log=tmp_path / "2"):
            assert "several servers run: one, two" in run("status").stderr
            assert ask("status", "--name", "two")["name"] == "two"
        with serve("echo.py:handle", "-w", "1", "--control-socket", path, log=tmp_path / "3"):
            assert ask("status", "--control-socket", path)["workers"] == 1
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_server_without_a_control_socket(log: Path) -> None:
    """It is not found, and serves."""
    with serve("echo.py:handle", "-w", "1", "--control-socket", "none", log=log) as served:
        assert "no server of this user runs" in run("status").stderr
        served.connect().close()


def test_what_a_killed_server_left_is_swept(log: Path) -> None:
    """Its socket is no server."""
    with serve("echo.py:handle", "-w", "1", log=log) as served:
        served.send(signal.SIGKILL)
        served.wait()
        assert "no server of this user runs" in run("status").stderr


def test_nonsense_on_the_control_socket_harms_nobody(log: Path, tmp_path: Path) -> None:
    """Other versions, unknown verbs, no JSON and endless lines get an answer or an end."""
    path = str(tmp_path / "control")
    with serve("echo.py:handle", "-w", "1", "--control-socket", path, log=log):
        for line, said in [
            (b"nonsense", "no JSON"),
            (b"[1]", "no JSON object"),
            (b'{"v": 2, "verb": "status"}', "version 1"),
            (b'{"v": 1}', "needs a verb"),
            (b'{"v": 1, "verb": "explode"}', "there is no verb 'explode'"),
            (b'{"v": 1, "verb": "scale", "arguments": {"workers": "many"}}', "no number"),
        ]:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                client.sendall(line + b"\n")
                answer = json.loads(client.makefile().readline())
                assert (answer["ok"], answer["v"]) == (False, 1)
                assert said in answer["error"]
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            with pytest.raises(ConnectionError):
                for _ in range(100):
                    client.sendall(b"x" * 10_000)
        assert ask("status", "--control-socket", path)["workers"] == 1


# Reload.


def test_reload_takes_the_new_code(log: Path, code: Path) -> None:
    """When `reload --wait` returns, every new connection meets the new code."""
    with serve("versioned.py:handle", "-w", "2", log=log, cwd=code) as served:
        assert version(served) == b"1"
        write_version(code, 2)
        assert version(served) == b"1"
        assert ask("reload", "--wait") == {"generation": 1}
        assert [version(served) for _ in range(8)] == [b"2"] * 8
        eventually(lambda: len(served.workers()) == 2, within=5)


def test_hup_reloads(log: Path, code: Path) -> None:
    """The signal of the field does the same."""
    with serve("versioned.py:handle", "-w", "1", log=log, cwd=code) as served:
        write_version(code, 2)
        served.send(signal.SIGHUP)
        served.await_log("reloaded: every worker is of generation 1")
        assert version(served) == b"2"


def test_no_connection_is_lost_by_reloads(log: Path) -> None:
    """Clients that connect all the time notice nothing of ten reloads."""
    with serve("echo.py:handle", "-w", "2", log=log) as served:
        with load(served) as clients:
            for _ in range(10):
                before = clients.served
                ask("reload", "--wait")
                eventually(lambda before=before: clients.served > before, within=5)  # type: ignore[misc]
        assert clients.broken == []
        assert ask("status")["statistics"]["lost"] == 0


def test_a_connection_outlives_the_reload(log: Path, code: Path) -> None:
    """Who is being served is served to the end, by the worker that began it."""
    with serve("versioned.py:handle", "-w", "1", log=log, cwd=code) as served:
        with served.connect() as client:
            assert client.recv(1) == b"1"
            write_version(code, 2)
            ask("reload", "--wait")
            assert version(served) == b"2"
            client.sendall(b"?")
            assert client.recv(1) == b"1"
            states = [w["state"] for w in ask("status")["statistics"]["workers"]]
            assert sorted(states) == ["draining", "ready"]
        eventually(lambda: len(served.workers()) == 1, within=5)


def test_bad_code_leaves_the_old_workers_serving(log: Path, code: Path) -> None:
    """`reload --wait` fails, shows the traceback, and nothing else happens."""
    with serve("versioned.py:handle", "-w", "2", log=log, cwd=code) as served:
        workers = set(served.workers())
        (code / "versioned.py").write_text("raise RuntimeError('a bad release')\n")
        done = run("reload", "--wait")
        assert done.returncode == 1
        assert "RuntimeError: a bad release" in done.stderr
        assert "Traceback" in done.stderr
        assert done.stderr.splitlines()[-1].startswith("manycore: error: ")
        assert set(served.workers()) == workers
        assert version(served) == b"1"
        write_version(code, 3)
        ask("reload", "--wait")
        assert version(served) == b"3"


def test_a_killed_worker_during_reloads_breaks_only_its_own(log: Path) -> None:
    """Kills and reloads at once: the server goes on, and what was lost is counted."""
    with serve("echo.py:handle", "-w", "2", log=log) as served:
        with load(served) as clients:
            for _ in range(5):
                run("reload")
                for pid in served.workers()[:1]:
                    with suppress(ProcessLookupError):  # the reload was faster
                        os.kill(pid, signal.SIGKILL)
                eventually(lambda: not ask("status")["reloading"], within=10)
        lost = ask("status")["statistics"]["lost"]
        assert len(clients.broken) <= lost
        eventually(lambda: len(served.workers()) == 2, within=5)


@pytest.mark.parametrize(
    ("target", "mode"),
    [
        ("modes.py:says_goodbye", "threads"),
        ("modes.py:says_goodbye", "greenlets"),
        ("modes.py:says_goodbye_in_asyncio", "asyncio"),
        ("modes.py:selects", "threads"),
    ],
)
def test_handlers_see_that_their_worker_drains(log: Path, target: str, mode: str) -> None:
    """They say goodbye, and the reload need not wait for the grace period's end."""
    with serve(target, "-w", "1", "--mode", mode, log=log) as served:
        with served.connect() as one, served.connect() as two:
            for client in (one, two):
                assert client.recv(10) == b"hello"
            ask("reload", "--wait")
            for client in (one, two):
                assert client.recv(10) == b"goodbye"
                assert client.recv(10) == b""
        with served.connect() as client:
            assert client.recv(10) == b"hello"
            ask("stop")
            assert client.recv(10) == b"goodbye"
        assert served.wait() == 0


# Dump.


def test_dump_shows_where_threads_are(log: Path) -> None:
    """Those at the same place are shown once, the handler's own line among them."""
    with serve("echo.py:handle", "-w", "1", log=log) as served:
        with served.connect() as one, served.connect() as two:
            for client in (one, two):
                client.sendall(b"x")
                assert client.recv(1) == b"x"
            (worker,) = ask("dump")["workers"]
            assert (worker["pid"], worker["note"]) == (served.workers()[0], "")
            serving = [s for s in worker["stacks"] if s["frames"][-1]["function"] == "handle"]
            assert sum(stack["count"] for stack in serving) == 2
            assert serving[0]["frames"][-1]["file"].endswith("echo.py")
            text = run("dump").stdout
            assert "thread MainThread" in text
            assert "while data := conn.recv(1000):" in text


@pytest.mark.parametrize(
    ("target", "mode", "kind"),
    [("modes.py:echo", "asyncio", "task"), ("modes.py:blocking", "greenlets", "greenlet")],
)
def test_dump_shows_what_waits_and_is_no_thread(
    log: Path, target: str, mode: str, kind: str
) -> None:
    """Tasks with all that they await, and greenlets."""
    with serve(target, "-w", "1", "--mode", mode, log=log) as served:
        with served.connect() as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            (worker,) = ask("dump")["workers"]
            (stack,) = [stack for stack in worker["stacks"] if stack["kind"] == kind]
            assert target.partition(":")[2] in [f["function"] for f in stack["frames"]]
            assert len(stack["frames"]) > 2


def test_dump_shows_a_worker_that_is_stuck_in_c_code(log: Path) -> None:
    """One that holds the interpreter's lock is looked at, one that is stopped is named."""
    with serve("echo.py:starts_a_program", "-w", "2", log=log) as served:
        with served.connect() as client:
            stuck = int(client.recv(16)[:8])
            client.sendall(b"x")
            (other,) = set(served.workers()) - {stuck}
            os.kill(other, signal.SIGSTOP)
            workers = {worker["pid"]: worker for worker in ask("dump")["workers"]}
            os.kill(other, signal.SIGCONT)
        assert "holds the interpreter's lock" in workers[stuck]["note"]
        places = [f["function"] for s in workers[stuck]["stacks"] for f in s["frames"]]
        assert "starts_a_program" in places
        assert workers[other]["note"] == "it does not answer: the process is stopped"
        assert workers[other]["stacks"] == []


def test_dump_shows_what_a_worker_imports(log: Path) -> None:
    """One that boots for ever says where."""
    with serve("slow.py:handle", "-w", "1", log=log, ready=False) as served:
        eventually(lambda: "slow.py" in run("dump").stdout, within=10)
        served.send(signal.SIGINT)
        served.wait()


# Scale.


def test_scale_changes_the_number_of_workers(log: Path) -> None:
    """To a number, or by one; those that are too many finish what they have open."""
    with serve("echo.py:named", "-w", "1", log=log) as served:
        assert ask("scale", "3") == {"workers": 3}
        eventually(lambda: len(served.workers()) == 3, within=5)
        assert ask("scale", "+1") == {"workers": 4}
        assert ask("scale", "-2") == {"workers": 2}
        eventually(lambda: len(served.workers()) == 2, within=5)
        served.send(signal.SIGTTIN)
        eventually(lambda: len(served.workers()) == 3, within=5)
        for count in (2, 1, 1):
            served.send(signal.SIGTTOU)
            eventually(lambda count=count: len(served.workers()) == count, within=5)  # type: ignore[misc]
        assert "not between 1 and 500" in run("scale", "0").stderr
        assert "no number of workers" in run("scale", "many").stderr


def test_a_worker_that_is_not_wanted_any_more_before_it_is_ready(log: Path, code: Path) -> None:
    """It ends at once, and its end is no error."""
    with serve("versioned.py:handle", "-w", "1", log=log, cwd=code) as served:
        (code / "versioned.py").write_text("import time\ntime.sleep(60)\n")
        ask("scale", "2")
        eventually(lambda: len(served.workers()) == 2, within=5)
        ask("scale", "1")
        served.await_log("worker 2 ")
        assert "ERROR" not in served.text
        assert len(served.workers()) == 1


# Stop.


def test_stop_waits_until_all_has_ended(log: Path) -> None:
    """`stop --wait` returns when the server is gone; open connections may finish before."""
    with serve("echo.py:handle", "-w", "2", log=log) as served:
        with served.connect() as client:
            client.sendall(b"x")
            client.recv(1)
            assert ask("stop") == {"stopping": "graceful"}
            client.sendall(b"y")
            assert client.recv(1) == b"y"
            assert ask("status")["stopping"] is True
            assert ask("stop", "--quick", "--wait") == {"stopping": "quick"}
            assert client.recv(1) == b""
        assert served.wait(1) == 0
