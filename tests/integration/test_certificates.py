"""Certificates that change while a server runs, and those that cannot be used."""

from __future__ import annotations

import os
import signal
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from command import TARGETS, Served, run, serve
from eventually import eventually
from manycore.server.lastgood import LastGood

TARGET = f"{TARGETS / 'echo.py'}:handle"
BAD = "the changed certificate is not used, the old one is: key: "


class Pair:
    """A certificate and its key, in two files, as an authority renews them."""

    def __init__(self, place: Path) -> None:
        self._authority = trustme.CA()
        self.certificate, self.key = place / "server.pem", place / "server.key"
        self.renew()

    @property
    def arguments(self) -> list[str]:
        """What a server is told of it."""
        return ["--certificate", str(self.certificate), "--key", str(self.key)]

    def renew(self, *, certificate: bool = True, key: bool = True) -> None:
        """Writes a new pair, or only one half of it."""
        issued = self._authority.issue_cert("localhost")
        for path, wanted, content in (
            (self.key, key, issued.private_key_pem.bytes()),
            (self.certificate, certificate, issued.cert_chain_pems[0].bytes()),
        ):
            if wanted:
                part = path.with_suffix(".part")
                part.write_bytes(content)
                part.rename(path)

    def connect(self, served: Served) -> ssl.SSLSocket:
        """Connects a client that trusts the authority."""
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        return context.wrap_socket(served.connect(), server_hostname="localhost")

    def served_now(self, served: Served) -> str:
        """The serial number of the certificate that a new client is shown, after an exchange."""
        with self.connect(served) as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
            return str((client.getpeercert() or {})["serialNumber"])


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest.fixture
def served(pair: Pair, tmp_path: Path) -> Iterator[Served]:
    """A server of two workers with that pair."""
    arguments = ["-w", "2", "-n", "papers", *pair.arguments]
    with serve(TARGET, *arguments, log=tmp_path / "log") as served:
        yield served


def all_shown(pair: Pair, served: Served) -> set[str]:
    """What several new clients are shown: both workers' certificates are among them."""
    clients = [pair.connect(served) for _ in range(6)]
    try:
        return {str((client.getpeercert() or {})["serialNumber"]) for client in clients}
    finally:
        for client in clients:
            client.close()


def test_a_reload_reads_the_files(pair: Pair, served: Served) -> None:
    """After it every worker shows the new certificate, at once."""
    before = all_shown(pair, served)
    assert len(before) == 1
    pair.renew()
    assert run("reload", "-n", "papers", "--wait").returncode == 0
    after = all_shown(pair, served)
    assert len(after) == 1
    assert after != before


def test_changed_files_are_read(pair: Pair, served: Served) -> None:
    """Without a reload, every worker shows the new certificate soon."""
    before = all_shown(pair, served)
    pair.renew()
    eventually(lambda: not before & all_shown(pair, served), within=10)
    assert "reload" not in served.text


def test_a_pair_that_does_not_fit_at_a_reload(pair: Pair, served: Served) -> None:
    """The reload fails with one line and no traceback; the old one is shown on."""
    before = all_shown(pair, served)
    pair.renew(certificate=False)
    done = run("reload", "-n", "papers", "--wait")
    assert done.returncode == 1
    assert "it does not fit" in done.stderr
    assert "Traceback" not in done.stderr + served.text
    told = [line for line in served.text.splitlines() if "the reload failed" in line]
    assert len(told) == 1
    assert f"key: {pair.key} with {pair.certificate}: it does not fit" in told[0]
    assert all_shown(pair, served) == before
    pair.renew()
    assert run("reload", "-n", "papers", "--wait").returncode == 0
    assert not before & all_shown(pair, served)


def test_files_that_change_to_what_does_not_fit(pair: Pair, served: Served) -> None:
    """One line, whoever sees it; a worker that starts then has the old one too, and the next."""
    before = all_shown(pair, served)
    pair.renew(certificate=False)

    def is_told() -> bool:
        assert all_shown(pair, served) == before
        return BAD in served.text

    eventually(is_told, within=10)
    for victim in served.workers():
        os.kill(victim, signal.SIGKILL)
        eventually(lambda v=victim: v not in served.workers(), within=10)  # type: ignore[misc]
        eventually(lambda: len(served.workers()) == 2, within=10)
    served.send(signal.SIGTTIN)
    eventually(lambda: len(served.workers()) == 3, within=10)
    assert all_shown(pair, served) == before
    assert served.text.count(BAD) == 1
    pair.renew()
    eventually(lambda: not before & all_shown(pair, served), within=10)


def test_a_certificate_that_expires(tmp_path: Path) -> None:
    """Who starts after that serves with it still, and says so; clients see for themselves."""
    soon = datetime.now(UTC) + timedelta(seconds=4)
    issued = trustme.CA().issue_cert("localhost", not_after=soon)
    file = tmp_path / "soon.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(file))
    with serve(TARGET, "-w", "1", "--certificate", str(file), log=tmp_path / "log") as served:
        victim = served.workers()[0]
        eventually(lambda: datetime.now(UTC) > soon + timedelta(seconds=1), within=10)
        os.kill(victim, signal.SIGKILL)
        assert "certificate has expired" in served.await_log("the old one is")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(served.connect()) as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
        assert victim not in served.workers()


def test_reloads_and_deaths_under_load(pair: Pair, served: Served) -> None:
    """Renewed, reloaded and killed again and again: whoever was not a victim's finds a server."""
    failed: list[str] = []
    count = [0]
    over = threading.Event()

    def play() -> None:
        while not over.is_set():
            try:
                pair.served_now(served)
                count[0] += 1
            except (OSError, AssertionError) as error:
                failed.append(repr(error))

    players = [threading.Thread(target=play) for _ in range(4)]
    for player in players:
        player.start()
    try:
        for generation in (1, 2):
            pair.renew()
            served.send(signal.SIGHUP)
            served.await_log(f"every worker is of generation {generation}", within=20)
        assert failed == []
        broken = 0
        for _ in range(2):
            before = served.workers()
            os.kill(before[0], signal.SIGKILL)
            eventually(lambda b=before: b[0] not in served.workers(), within=10)  # type: ignore[misc]
            eventually(lambda: len(served.workers()) == 2, within=10)
            goal = count[0] + 20
            eventually(lambda g=goal: count[0] >= g, within=20)  # type: ignore[misc]
            assert len(failed) - broken <= len(players)  # each had one connection at most
            broken = len(failed)
    finally:
        over.set()
        for player in players:
            player.join()


class TestLastGood:
    @pytest.fixture
    def kept(self) -> Iterator[LastGood]:
        kept = LastGood()
        yield kept
        kept.close()

    def test_what_is_kept(self, kept: LastGood) -> None:
        """Nothing at first, then the last that was kept, byte by byte."""
        assert kept.contents() is None
        for contents in ([bytes(range(256)), b""], [b"shorter"]):
            kept.keep(contents)
            assert kept.contents() == contents

    def test_a_complaint_is_news_once(self, kept: LastGood) -> None:
        """Until another one is made, or something good was kept."""
        kept.keep([b"a"])
        said = [kept.is_news(words) for words in ("bad", "bad", "worse", "worse")]
        assert said == [True, False, True, False]
        kept.keep([b"b"])
        assert kept.is_news("worse")
        assert kept.contents() == [b"b"]

    def test_what_was_torn_is_nothing(self, kept: LastGood) -> None:
        """A worker that died while it wrote leaves no half of a key behind."""
        kept.keep([b"0123456789" * 10])
        os.pwrite(kept._fd, b"torn", 50)
        assert kept.contents() is None
        kept.keep([b"whole"])
        assert kept.contents() == [b"whole"]
