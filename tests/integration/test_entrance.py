"""TLS and the PROXY protocol, in every mode: who gets in, who does not, and what is kept."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from command import TARGETS, Served, run, serve
from eventually import eventually

ECHO = TARGETS / "echo.py"
MODES = TARGETS / "modes.py"
WAYS: dict[str, tuple[str, list[str]]] = {
    "threads": (f"{ECHO}:whence", []),
    "greenlets": (f"{ECHO}:whence", ["--mode", "greenlets"]),
    "streams": (f"{MODES}:whence", []),
    "protocol": (f"{MODES}:Whence", []),
    "streams on asyncio's loop": (f"{MODES}:whence", ["--loop", "asyncio"]),
}
Start = Callable[..., Any]


@pytest.fixture(params=WAYS)
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    target, settings = WAYS[request.param]
    return lambda *arguments, **more: serve(
        target, *settings, *arguments, log=tmp_path / "log", **more
    )


class Papers:
    """An authority, and the files of certificates that it signed."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(str(place / "ca.pem"))

    def issue(self, file: str, *names: str, **facts: Any) -> Path:
        """Writes a certificate with its key into one file."""
        path = self.place / file
        part = path.with_suffix(".part")
        self.authority.issue_cert(*names, **facts).private_key_and_cert_chain_pem.write_to_path(
            str(part)
        )
        part.rename(path)
        return path

    def client(self, *alpn: str) -> ssl.SSLContext:
        """What a client trusts."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


@contextmanager
def secured(
    served: Served, context: ssl.SSLContext, name: str = "localhost"
) -> Iterator[ssl.SSLSocket]:
    with served.connect() as plain, context.wrap_socket(plain, server_hostname=name) as client:
        yield client


def line(client: socket.socket) -> bytes:
    """Reads up to the end of a line, and not a byte more."""
    read = b""
    while not read.endswith(b"\n"):
        byte = client.recv(1)
        assert byte, read
        read += byte
    return read


def exchange(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    answer = b""
    while len(answer) < len(data):
        chunk = client.recv(65_536)
        assert chunk, len(answer)
        answer += chunk
    return answer


def test_tls(start: Start, papers: Papers) -> None:
    """What is sent comes back, much and little; the end of one side is told to the other."""
    certificate = papers.issue("localhost.pem", "localhost")
    with start("-w", "1", "--certificate", str(certificate), "--alpn", "echo") as served:
        with secured(served, papers.client("other", "echo")) as client:
            assert client.selected_alpn_protocol() == "echo"
            assert line(client).startswith(b"('127.0.0.1', ")
            assert exchange(client, b"hello") == b"hello"
            much = os.urandom(300_000)
            sender = threading.Thread(target=client.sendall, args=(much,))
            sender.start()
            back = b""
            while len(back) < len(much):
                back += client.recv(65_536)
            sender.join()
            assert back == much
            plain = client.unwrap()  # it waits for the server's own end
            assert plain.recv(1) == b""
            plain.close()


def test_who_leaves_in_the_middle_is_no_failure(start: Start, papers: Papers) -> None:
    """A reset while the handler writes is a line in the log, as without TLS, and no traceback."""
    certificate = papers.issue("localhost.pem", "localhost")
    at_once = struct.pack("ii", 1, 0)
    with start("-w", "1", "--certificate", str(certificate)) as served:
        for _ in range(20):  # what its handler is told depends on what it is doing
            with secured(served, papers.client()) as client:
                line(client)
                client.sendall(bytes(10_000))
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        served.send(signal.SIGTERM)
        assert served.wait() == 0
        assert "Traceback" not in served.text


def test_names_and_old_versions(start: Start, papers: Papers) -> None:
    """A client gets the certificate that it asks for; one that knows TLS 1.1 only gets none."""
    first = papers.issue("first.pem", "first.example")
    second = papers.issue("second.pem", "second.example", "*.second.example")
    both = ("--certificate", str(first), "--certificate", str(second))
    with start("-w", "1", *both) as served:
        for name in ("first.example", "second.example", "www.second.example"):
            with secured(served, papers.client(), name) as client:
                line(client)
                assert exchange(client, b"hello") == b"hello"
        with pytest.raises(ssl.SSLCertVerificationError), secured(served, papers.client(), "third"):
            pass


@pytest.mark.parametrize("needed", ["required", "optional"])
def test_client_certificates(start: Start, papers: Papers, needed: str) -> None:
    """One that is signed gets in; none does only where it is optional; a stranger's never."""
    certificate = papers.issue("server.pem", "localhost")
    arguments = ("--certificate", str(certificate), "--client-ca", str(papers.place / "ca.pem"))
    with start("-w", "1", *arguments, "--client-certificates", needed) as served:
        context = papers.client()
        context.load_cert_chain(papers.issue("client.pem", "someone"))
        with secured(served, context) as client:
            line(client)
        strange = papers.client()
        trustme.CA().issue_cert("someone").configure_cert(strange)
        with pytest.raises((ssl.SSLError, ConnectionError)), secured(served, strange) as client:
            if not client.recv(1):
                raise ConnectionResetError
        with secured(served, papers.client()) as client:
            if needed == "optional":
                line(client)
            else:
                with suppress(OSError):
                    assert client.recv(1) == b""
    if needed == "required":
        assert "turned away" in served.text


def test_silent_and_wrong_clients(start: Start, papers: Papers) -> None:
    """They hold nobody up, and are disconnected when their time is over."""
    certificate = papers.issue("silent.pem", "localhost")
    arguments = ("--certificate", str(certificate), "--handshake-timeout", "1")
    with start("-w", "1", *arguments) as served, ExitStack() as clients:
        silent = [clients.enter_context(served.connect()) for _ in range(50)]
        wrong = clients.enter_context(served.connect())
        wrong.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with secured(served, papers.client()) as client:
            line(client)
            assert exchange(client, b"hello") == b"hello"
            for one in silent:
                with suppress(ConnectionResetError):
                    assert one.recv(1) == b""
            with suppress(ConnectionResetError):
                while wrong.recv(1000):  # it may be told what is wrong
                    pass
            assert exchange(client, b"still") == b"still"
        eventually(lambda: served.text.count("turned away") >= 51, within=5)


def test_certificates_are_read_again(start: Start, papers: Papers) -> None:
    """A new one is used for new clients, nothing that is open breaks, a bad one changes nothing."""
    certificate = papers.issue("changing.pem", "localhost")

    def serial() -> str:
        with secured(served, papers.client()) as other:
            line(other)
            return str(other.getpeercert()["serialNumber"])  # type: ignore[index]

    with (
        start("-w", "1", "--certificate", str(certificate)) as served,
        secured(served, papers.client()) as client,
    ):
        line(client)
        before = serial()
        papers.issue("changing.pem", "localhost")
        eventually(lambda: serial() != before, within=10)
        now = serial()
        certificate.write_text("no certificate")

        def complained() -> bool:
            assert serial() == now
            return "the old one is" in served.text

        eventually(complained, within=10)
        assert exchange(client, b"still here") == b"still here"
        papers.issue("changing.pem", "localhost")
        served.send(signal.SIGHUP)
        served.await_log("reloaded")
        assert serial() not in {before, now}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_proxied_clients(start: Start, papers: Papers, version: int, secure: bool) -> None:
    """The handler sees the client's address, and every byte behind the header."""
    header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"
    if version == 2:
        body = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + (4711).to_bytes(2, "big") + b"\x01\xbb"
        header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + body
    arguments = ["--proxy-protocol"]
    if secure:
        arguments += ["--certificate", str(papers.issue("proxied.pem", "localhost"))]
    with start("-w", "1", *arguments) as served:
        for torn in (False, True):
            with served.connect() as client:
                if torn:
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    for at in range(len(header)):
                        client.sendall(header[at : at + 1])
                    client.sendall(b"" if secure else b"hello")
                else:
                    client.sendall(header + (b"" if secure else b"hello"))
                if secure:
                    client = papers.client().wrap_socket(client, server_hostname="localhost")  # noqa: PLW2901
                    client.sendall(b"hello")
                assert line(client) == b"('192.0.2.7', 4711)\n"
                assert client.recv(100) == b"hello"
                client.close()


def test_bad_proxies(start: Start) -> None:
    """A stranger, a malformed, a torn and a slow header: each is disconnected, with one line."""
    arguments = ("-w", "1", "--proxy-protocol", "--handshake-timeout", "1")
    with start(*arguments, "--proxy-from", "192.0.2.0/24") as served, served.connect() as stranger:
        with suppress(ConnectionResetError):
            assert stranger.recv(1) == b""
        served.await_log("it is none of proxy_from")
    with start(*arguments) as served:
        with served.connect() as malformed:
            malformed.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with suppress(ConnectionResetError):
                assert malformed.recv(1) == b""
        served.await_log("it begins with no PROXY header")
        with served.connect() as torn:
            torn.sendall(b"PROXY TCP4 1")
            torn.shutdown(socket.SHUT_WR)
            assert torn.recv(1) == b""
        served.await_log("in the middle of its PROXY header")
        with served.connect() as slow, served.connect() as good:
            began = time.monotonic()
            slow.sendall(b"PROXY TCP4 1")
            good.sendall(b"PROXY UNKNOWN\r\nhello")
            assert line(good).startswith(b"('127.0.0.1', ")
            assert good.recv(100) == b"hello"
            assert slow.recv(1) == b""
            assert time.monotonic() - began < 5
        assert served.text.count("turned away") == 3


def test_bad_certificates(papers: Papers) -> None:
    """Each is one line that says what is wrong, and the exit code of a wrong setting."""
    good = papers.issue("good.pem", "localhost")
    other = papers.issue("other.pem", "localhost")
    expired = papers.issue("expired.pem", "localhost", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    empty = papers.place / "empty.pem"
    empty.touch()
    for arguments, said in (
        (["--certificate", "nowhere.pem"], "no such file"),
        (["--certificate", str(good), "--key", str(other)], "it does not fit"),
        (["--certificate", str(expired)], "expired"),
        (["--certificate", str(empty)], "empty.pem"),
        (["--certificate", str(good), "--client-ca", str(empty)], "client_ca"),
        (
            ["--certificate", str(good), "--key", str(good), "--key", str(good)],
            "2 keys for 1 certificates",
        ),
        (["--alpn", "h2"], "no TLS without a certificate"),
    ):
        for command in ("serve", "check"):
            done = run(command, f"{ECHO}:handle", *arguments)
            assert done.returncode == 2, done
            assert said in done.stderr
            assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_stop_and_a_reload_with_open_tls_connections(start: Start, papers: Papers) -> None:
    """A reload breaks none; a quick stop ends them all."""
    certificate = papers.issue("stopped.pem", "localhost")
    with start("-w", "1", "--certificate", str(certificate)) as served:
        with secured(served, papers.client()) as client:
            line(client)
            served.send(signal.SIGHUP)
            served.await_log("reloaded")
            assert exchange(client, b"still here") == b"still here"
            served.send(signal.SIGQUIT)
            with suppress(OSError):
                assert client.recv(1) == b""
            assert served.wait() == 0


def test_who_may_use_a_unix_socket(tmp_path: Path) -> None:
    """The file has the permissions that were asked for."""
    path = tmp_path / "socket"
    with serve(f"{ECHO}:handle", "--unix-mode", "620", log=tmp_path / "log", bind=f"unix:{path}"):
        assert path.stat().st_mode & 0o777 == 0o620


def test_plain_workers_know_nothing_of_tls(tmp_path: Path) -> None:
    """Who does not ask for TLS does not pay for it."""
    program = (
        "import manycore.server.entrance, manycore.server.modes, sys; print('ssl' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "False\n"


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_applications_over_tls_behind_a_proxy(tmp_path: Path, papers: Papers, kind: str) -> None:
    """They are told that it is HTTPS, and whose request it is."""
    certificate = papers.issue(f"{kind}.pem", "localhost")
    arguments = ("-w", "1", "--proxy-protocol", "--certificate", str(certificate))
    target = f"{TARGETS / 'whence.py'}:{kind}"
    with serve(target, f"--{kind}", *arguments, log=tmp_path / "log") as served:
        with served.connect() as plain:
            plain.sendall(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n")
            with papers.client().wrap_socket(plain, server_hostname="localhost") as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                answer = b""
                while chunk := client.recv(1000):
                    answer += chunk
        assert b"\nhttps 192.0.2.7" in answer, answer
