"""Every example runs."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from command import run as command
from command import serve

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_demo() -> None:
    """It shows what each worker did, and that every answer was right."""
    said = run("demo.py")
    rows = re.findall(r"^ +(\d+) +\d+ +(\d+) +0$", said, re.MULTILINE)
    assert sum(int(connections) for _, connections in rows) == 400
    assert "10000 answers" in said


def test_embedded() -> None:
    """A program with threads serves, and is its own client."""
    assert run("embedded.py").startswith("hello 127.0.0.1\n<Server __main__.greet on 127.0.0.1:")


def test_echo(tmp_path: Path) -> None:
    """The example of the README is served by the command."""
    with serve("echo.py:handle", log=tmp_path / "log", cwd=EXAMPLES) as served:
        with served.connect() as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"


@pytest.mark.parametrize(
    "arguments",
    [
        ["echo_asyncio.py:handle"],
        ["echo_asyncio.py:Echo"],
        ["echo_greenlets.py:handle", "--mode", "greenlets"],
    ],
)
def test_echo_in_other_modes(arguments: list[str], tmp_path: Path) -> None:
    """The examples of the page on modes are served by the command."""
    with serve(*arguments, "-w", "1", log=tmp_path / "log", cwd=EXAMPLES) as served:
        with served.connect() as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"


def test_asgi(tmp_path: Path) -> None:
    """An application answers over HTTP."""
    arguments = ["hello_asgi.py:app", "--asgi", "-w", "1"]
    with serve(*arguments, log=tmp_path / "log", cwd=EXAMPLES) as served:
        connection = http.client.HTTPConnection(*served.address, timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().read() == f"hello from {served.workers()[0]}\n".encode()
        connection.close()


def test_words() -> None:
    """The example for the shell does what its first lines say."""
    done = command("map", "examples/words.py:words", "-q", "-i", "docs/*.md", cwd=EXAMPLES.parent)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert "docs/index.md" in [row["item"] for row in rows]
    assert all(row["result"] > 10 for row in rows)
