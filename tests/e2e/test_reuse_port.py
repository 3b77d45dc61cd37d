"""Several servers on one port."""

from __future__ import annotations

import signal
from pathlib import Path

from command import Served, run, serve
from eventually import eventually

SHARED = ("-w", "1", "--reuse-port")
MOST_CLIENTS = 200  # all of whom the kernel's hash would give to one of two by no chance


def server_of_a_client(served: Served) -> int:
    """Connects one client; gives the process id of the server that served it."""
    with served.connect() as client:
        return int(client.recv(100))


def target(path: Path) -> str:
    file = path / "who.py"
    file.write_text(
        "import os\ndef handle(conn):\n    conn.sendall(b'%d' % os.getppid())\n    conn.recv(1)\n"
    )
    return f"{file}:handle"


def test_two_servers_on_one_port(tmp_path: Path) -> None:
    """Both serve; one that stops leaves the port at once, though a client of it stays, unharmed."""
    what = target(tmp_path)
    with serve(what, *SHARED, log=tmp_path / "one") as one:
        one.await_log("by a hash, not by load")
        port = one.address[1]
        with serve(what, *SHARED, bind=f"127.0.0.1:{port}", log=tmp_path / "other") as other:
            found = {server_of_a_client(one) for _ in range(MOST_CLIENTS)}
            assert found == {one.pid, other.pid}
            while True:
                staying = one.connect()
                if int(staying.recv(100)) == one.pid:
                    break
                staying.close()
            with staying:
                one.send(signal.SIGTERM)
                eventually(
                    lambda: {server_of_a_client(one) for _ in range(MOST_CLIENTS)} == {other.pid},
                    within=30,  # the first may come before it has heard
                )
                assert one.process.poll() is None
            assert one.wait() == 0


def test_a_port_that_only_one_shares(tmp_path: Path) -> None:
    """The second server is told what the first one lacks."""
    with serve("echo.py:handle", "-w", "1", log=tmp_path / "log") as served:
        where = f"127.0.0.1:{served.address[1]}"
        done = run("serve", "echo.py:handle", *SHARED, "--bind", where)
    assert done.returncode == 1
    assert "start what listens there with reuse-port too, as the same user" in done.stderr
