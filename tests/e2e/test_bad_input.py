"""What the command says to bad input: one line, and an exit code that scripts can use."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from command import TARGETS, run, serve


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["serve", "nope.py:handle"], 4, "nope.py:handle: there is no such file"),
        (["serve", "nope:handle"], 4, "there is no module 'nope'"),
        (["serve", "echo.py:handel"], 4, "did you mean 'handle'?"),
        (["serve", "echo.py"], 4, "it names no function"),
        (["serve", "echo.py:not_callable"], 4, "a int cannot be called"),
        (
            ["serve", "echo.py:coroutine"],
            4,
            "it must be given 1 arguments, not a reader",
        ),
        (["serve", "broken.py:handle"], 4, "RuntimeError: this module is broken on purpose"),
        (["check", "broken.py:handle"], 4, "broken.py:3"),
        (["serve", "echo.py:handle", "--bind", "nowhere"], 2, "--bind: 'nowhere' is no address"),
        (["serve", "echo.py:handle", "--bind", "127.0.0.1:99999"], 2, "port 99999 is above 65535"),
        (["serve", "echo.py:handle", "--bind", "192.0.2.1:80"], 1, "cannot listen on 192.0.2.1:80"),
        (["serve", "echo.py:handle", "--bind", "no.such.host.invalid:80"], 1, "check the host"),
        (["serve", "echo.py:handle", "--bind", "unix:/nope/x"], 1, "make the directory first"),
        (["serve", "echo.py:handle", "--bind", "fd://99"], 1, "cannot listen on fd://99"),
        (["serve", "echo.py:handle", "--workers", "x"], 2, "--workers: 'x' is not a whole number"),
        (["serve", "echo.py:handle", "--workers", "0"], 2, "--workers: 0 is below 1"),
        (["serve", "echo.py:handle", "--threads", "-1"], 2, "--threads: -1 is below 1"),
        (["serve", "echo.py:handle", "--graceful-timeout", "nan"], 2, "not a number of seconds"),
        (["serve", "echo.py:handle", "--log-level", "loud"], 2, "'loud' is none of debug"),
        (["serve", "echo.py:handle", "--config", "nope.toml"], 2, "nope.toml: no such file"),
        (["serve", "--bogus", "echo.py:handle"], 2, "--bogus"),
        (["serve"], 2, "Missing argument 'TARGET'"),
        (["sevre"], 2, "No such command 'sevre'"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(arguments: list[str], code: int, said: str) -> None:
    """It says what, where and what to do, and shows no traceback."""
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stderr.startswith("manycore: error: ")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_a_port_in_use() -> None:
    """The address is named, and a way out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("serve", "echo.py:handle", "--bind", bind)
    assert done.returncode == 1
    assert f"cannot listen on {bind}: address already in use" in done.stderr
    assert len(done.stderr.splitlines()) == 1


_FIRST_FOR_ALL = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


@pytest.mark.skipif(
    not _FIRST_FOR_ALL.exists() or int(_FIRST_FOR_ALL.read_text()) <= 80,
    reason="this kernel lets everybody listen on port 80",
)
def test_a_privileged_port() -> None:
    """Without the right, the line says which ports need none."""
    done = subprocess.run(
        [sys.executable, "-c", _LISTEN_ON_80],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "choose a port from 1024" in done.stdout


_LISTEN_ON_80 = """
import encodings.idna, os  # what a bind needs is imported before the right to read it is gone
from manycore.base.addresses import TcpAddress
from manycore.base.sockets import listen
from manycore.errors import BindError
if os.geteuid() == 0:
    os.setgroups([])
    os.setuid(65534)
try:
    listen(TcpAddress("127.0.0.1", 80), 1)
except BindError as error:
    print(error)
"""


def test_an_unknown_key_in_a_file(tmp_path: Path) -> None:
    """The file and the key are named, and what was meant."""
    (tmp_path / "pyproject.toml").write_text("[tool.manycore]\nwokers = 2\n")
    done = run("serve", "echo.py:handle", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "manycore: error: pyproject.toml: wokers: there is no such setting; did you mean workers?\n"
    )


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the variable, not the flag."""
    monkeypatch.setenv("MANYCORE_THREADS", "many")
    done = run("serve", "echo.py:handle")
    assert done.returncode == 2
    assert "MANYCORE_THREADS: 'many' is not a whole number" in done.stderr


def test_debug_shows_the_traceback() -> None:
    """Whoever asks for it sees where the target failed."""
    done = run("serve", "broken.py:handle", "--log-level", "debug")
    assert done.returncode == 4
    assert 'raise RuntimeError("this module is broken' in done.stderr


def test_a_worker_that_can_never_boot_ends_with_3() -> None:
    """After a few tries it is given up, and how it ended is said."""
    done = run("serve", "dies.py:handle", "--workers", "2", "--bind", "127.0.0.1:0")
    assert done.returncode == 3
    last = done.stderr.splitlines()[-1]
    assert last.startswith("manycore: error: no worker could boot: worker ")
    assert last.endswith("exited 7 before it was ready")


def test_a_worker_that_cannot_boot_shows_its_traceback() -> None:
    """Nothing else would tell why."""
    done = run("serve", "echo.py:unready", "--workers", "1", "--bind", "127.0.0.1:0")
    assert done.returncode == 3
    assert "Traceback (most recent call last):" in done.stderr
    assert done.stderr.endswith(
        "manycore: error: no worker could boot: LookupError: the model file is not there\n"
    )


def test_a_target_that_never_finishes_its_import() -> None:
    """The boot has a deadline."""
    done = run("serve", "slow.py:handle", "--boot-timeout", "0.2", "--bind", "127.0.0.1:0")
    assert done.returncode == 3
    assert "took more than 0.2 s to boot" in done.stderr


def test_term_while_booting(tmp_path: Path) -> None:
    """A server that is not up yet can be stopped."""
    with serve("slow.py:handle", "--log-level", "debug", log=tmp_path / "log", ready=False) as s:
        s.await_log("worker 1 is pid")
        s.send(signal.SIGTERM)
        assert s.wait(5) == 0


def test_check_says_whether_it_would_start() -> None:
    """It names what would be served, and starts nothing."""
    done = run("check", "echo.py:handle", "--workers", "2", "--bind", "127.0.0.1:0")
    assert done.returncode == 0
    assert done.stdout.startswith("ok: echo.py:handle on 127.0.0.1:")
    assert done.stdout.endswith("2 workers with up to 1000 threads each\n")


def test_help_reads_like_a_page() -> None:
    """Every setting is there with its variable and default; signals and exit codes are told."""
    page = run("serve", "--help").stdout
    for words in (
        "--workers N|auto",
        "MANYCORE_GRACEFUL_TIMEOUT; default: 30.0",
        "Signals",
        "TERM",
    ):
        assert words in page
    assert "Exit codes" in page


def test_targets_folder_is_what_the_tests_think() -> None:
    """The tests above name files that exist."""
    assert {"echo.py", "broken.py", "dies.py", "slow.py"} <= set(os.listdir(TARGETS))
