"""Certificates: read, checked, chosen by the name that a client asks for, and read again.

Guarantees: a pair that cannot serve is refused with one line before anybody is served with it; one
that goes bad while the server runs leaves the last good one in use, in workers that start later
too; nobody is woken to look at the files: whoever connects does that, at most once in
`LOOK_AGAIN_AFTER` seconds.
"""

from __future__ import annotations

import logging
import os
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeAlias

from manycore.base.segments import anonymous_file
from manycore.errors import SettingsError
from manycore.settings import ServeSettings

from .lastgood import LastGood

log = logging.getLogger("manycore.server")

LOOK_AGAIN_AFTER: Final = 1.0  # seconds: a new certificate is in no greater hurry
_EVEN_EXPIRED: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, openssl/x509_vfy.h

_Stamp: TypeAlias = tuple[tuple[int, int, int], ...]


class _Site(NamedTuple):
    """One pair, ready to serve."""

    context: ssl.SSLContext
    names: frozenset[str]


class Certificates:
    """The pairs of a server.

    Args:
        settings: Where they are, and who may come.
        last_good: Those that served; None: whoever asks only wants to know.
        strict: Whether those must not stand in for the files.

    Raises:
        SettingsError: When one of them cannot serve.
    """

    def __init__(
        self, settings: ServeSettings, last_good: LastGood | None = None, *, strict: bool = True
    ) -> None:
        self._settings = settings
        self._last_good = last_good
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._looked = time.monotonic()
        try:
            self._sites = self._load()
        except SettingsError as error:
            kept = None if strict or last_good is None else last_good.contents()
            if kept is None:
                raise
            self._complain(error)
            self._sites = self._make(kept, _EVEN_EXPIRED)  # better than nobody to serve

    def context(self) -> ssl.SSLContext:
        """Gives the context for a new connection, by the files as they are now."""
        if time.monotonic() - self._looked >= LOOK_AGAIN_AFTER and self._lock.acquire(
            blocking=False
        ):
            try:
                self._look_again()
            finally:
                self._lock.release()
        return self._sites[0].context

    def _look_again(self) -> None:
        self._looked = time.monotonic()
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._sites = self._load()
        except SettingsError as error:
            self._complain(error)
        else:
            log.info("the certificates were read anew")

    def _complain(self, error: SettingsError) -> None:
        """Says, in one of the workers, what is wrong with the files as they are."""
        if self._last_good is None or self._last_good.is_news(f"{self._stamp} {error}"):
            log.error("the changed certificate is not used, the old one is: %s", error)

    def _files(self) -> list[tuple[str, str]]:
        """Gives every file with the setting that names it."""
        settings = self._settings
        files = [
            *(("certificate", file) for file in settings.certificate),
            *(("key", file) for file in settings.key or settings.certificate),
            ("client_ca", settings.client_ca),
            ("key_password_file", settings.key_password_file),
        ]
        return [(where, file) for where, file in files if file]

    def _look(self) -> _Stamp:
        return tuple(_stamp(file) for _, file in self._files())

    def _load(self) -> tuple[_Site, ...]:
        contents = [_read(where, file) for where, file in self._files()]
        sites = self._make(contents)
        if self._last_good is not None:
            self._last_good.keep(contents)
        return sites

    def _make(self, contents: list[bytes], flags: int = 0) -> tuple[_Site, ...]:
        """Makes the contexts of what the files hold, or held; flags: of the trial (see `_try`)."""
        settings = self._settings
        count = len(settings.certificate)
        certificates, keys = contents[:count], contents[count : 2 * count]
        more = contents[2 * count :]
        client_ca = more.pop(0) if settings.client_ca else b""
        password = _first_line(settings.key_password_file, more.pop()) if more else ""
        key_files = settings.key or settings.certificate
        pairs = zip(settings.certificate, key_files, certificates, keys, strict=True)
        sites = tuple(_site(settings, _Pair(*p, password), client_ca, flags) for p in pairs)
        chosen = {name: site.context for site in reversed(sites) for name in site.names}

        def choose(conn: Any, name: str | None, _context: ssl.SSLContext) -> None:
            found = choose_name(name, chosen)
            if found is not None:
                conn.context = found

        for site in sites:
            site.context.sni_callback = choose
        return sites


def choose_name(name: str | None, contexts: dict[str, Any]) -> Any:
    """Finds what belongs to a name that a client asked for; None: nothing does.

    Example:
        >>> choose_name("www.example.org", {"*.example.org": 1, "example.org": 2})
        1
    """
    if name is None:
        return None
    name = name.lower().rstrip(".")
    return contexts.get(name, contexts.get(f"*.{name.partition('.')[2]}"))


def _stamp(file: str) -> tuple[int, int, int]:
    try:
        found = os.stat(file)
    except OSError:
        return (0, 0, 0)
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(where: str, file: str) -> bytes:
    try:
        with open(file, "rb") as found:
            return found.read()
    except OSError as error:
        raise _unreadable(where, file, error) from error


def _first_line(file: str, content: bytes) -> str:
    try:
        return content.decode().split("\n", 1)[0].rstrip("\r")
    except UnicodeDecodeError as error:
        raise _unreadable("key_password_file", file, error) from error


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Gives a path to what a file holds: OpenSSL takes a certificate from nowhere else."""
    fd = anonymous_file("certificate", content)
    try:
        yield f"/proc/self/fd/{fd}" if os.path.isdir("/proc/self/fd") else f"/dev/fd/{fd}"
    finally:
        os.close(fd)


def _unreadable(where: str, file: str, error: Exception) -> SettingsError:
    said = getattr(error, "strerror", None) or str(error)
    return SettingsError(where, f"{file}: {said.lower()}", "give a file that this user can read")


class _Pair(NamedTuple):
    certificate: str  # the names of the files, for errors
    key: str
    certificate_pem: bytes
    key_pem: bytes
    password: str


def _site(settings: ServeSettings, pair: _Pair, client_ca: bytes, flags: int) -> _Site:
    """Makes the context of one pair, and tries it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    _load_pair(context, pair)
    names = _try(context, pair, flags)
    if settings.alpn:
        context.set_alpn_protocols(list(settings.alpn))
    if settings.client_ca:
        try:
            with _as_file(client_ca) as path:
                context.load_verify_locations(cafile=path)
        except ssl.SSLError:
            problem = f"{settings.client_ca} has no certificate"
            raise SettingsError("client_ca", problem, "give a PEM file") from None
        required = settings.client_certificates == "required"
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return _Site(context, names)


def _load_pair(context: ssl.SSLContext, pair: _Pair) -> None:
    try:
        with _as_file(pair.certificate_pem) as certificate, _as_file(pair.key_pem) as key:
            context.load_cert_chain(certificate, key, lambda: pair.password)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        remedies = {
            "KEY_VALUES_MISMATCH": ("it does not fit", "give the key of that certificate"),
            "NO_START_LINE": ("one of them is no PEM", "give the certificate and key as PEM"),
        }
        problem, remedy = remedies.get(
            reason, (f"it cannot be read ({reason.lower()})", "check the key and its password")
        )
        where = f"{pair.key} with {pair.certificate}"
        raise SettingsError("key", f"{where}: {problem}", remedy) from error


def _try(server: ssl.SSLContext, pair: _Pair, flags: int) -> frozenset[str]:
    """Shakes hands with a pair, in memory; gives the names that it is for.

    Raises:
        SettingsError: When every client would refuse it: it has expired, say.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    # it is its own authority here
    client.verify_flags |= ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | flags)
    try:
        with _as_file(pair.certificate_pem) as path:
            client.load_verify_locations(cafile=path)
        one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
        theirs, ours = client.wrap_bio(one, other), server.wrap_bio(other, one, server_side=True)
        ends = [theirs, ours]
        while ends:
            ends = [end for end in ends if not _shake(end)]
    except ssl.SSLCertVerificationError as error:
        said = error.verify_message
        raise SettingsError("certificate", f"{pair.certificate}: {said}", "renew it") from error
    except ssl.SSLError as error:
        said = f"{pair.certificate}: no client can use it ({error.reason})"
        raise SettingsError("certificate", said, "give a server's certificate") from error
    found: Any = theirs.getpeercert() or {}
    return frozenset(
        name.lower() for kind, name in found.get("subjectAltName", ()) if kind == "DNS"
    )


def _shake(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def say_goodbye(conn: Any) -> None:
    """Tells a TLS client that nothing more comes, without waiting for what it says to that."""
    try:
        conn.settimeout(0.0)
        conn.unwrap()
    except (OSError, ValueError):  # it is gone, or has its answer still to send
        pass
