"""Certificates: read, checked, chosen by the name that a client asks for, and read again.

Guarantees: a pair that cannot serve is refused with one line before anybody is served with it; one
that goes bad while the server runs leaves the last good one in use; nobody is woken to look at the
files: whoever connects does that, at most once in `LOOK_AGAIN_AFTER` seconds.
"""

from __future__ import annotations

import logging
import os
import ssl
import threading
import time
from typing import Any, Final, NamedTuple, TypeAlias

from manycore.errors import SettingsError
from manycore.settings import ServeSettings

log = logging.getLogger("manycore.server")

LOOK_AGAIN_AFTER: Final = 1.0  # seconds: a new certificate is in no greater hurry

_Stamp: TypeAlias = tuple[tuple[int, int, int], ...]


class _Site(NamedTuple):
    """One pair, ready to serve."""

    context: ssl.SSLContext
    names: frozenset[str]


class Certificates:
    """The pairs of a server.

    Args:
        settings: Where they are, and who may come.

    Raises:
        SettingsError: When one of them cannot serve.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._looked = time.monotonic()
        self._sites = self._load()

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
            log.error("the changed certificate is not used, the old one is: %s", error)  # noqa: TRY400
        else:
            log.info("the certificates were read anew")

    def _look(self) -> _Stamp:
        files = (*self._settings.certificate, *self._settings.key, self._settings.client_ca)
        return tuple(_stamp(file) for file in files if file)

    def _load(self) -> tuple[_Site, ...]:
        settings = self._settings
        keys = settings.key or settings.certificate
        password = _read_password(settings.key_password_file)
        sites = tuple(
            _site(settings, *pair, password)
            for pair in zip(settings.certificate, keys, strict=True)
        )
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


def _read_password(file: str) -> str:
    if not file:
        return ""
    try:
        with open(file, encoding="utf-8") as text:
            return text.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable("key_password_file", file, error) from error


def _unreadable(where: str, file: str, error: Exception) -> SettingsError:
    said = getattr(error, "strerror", None) or str(error)
    return SettingsError(where, f"{file}: {said.lower()}", "give a file that this user can read")


def _site(settings: ServeSettings, certificate: str, key: str, password: str) -> _Site:
    """Makes the context of one pair, and tries it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    _load_pair(context, certificate, key, password)
    names = _try(context, certificate)
    if settings.alpn:
        context.set_alpn_protocols(list(settings.alpn))
    if settings.client_ca:
        try:
            context.load_verify_locations(cafile=settings.client_ca)
        except ssl.SSLError:
            problem = f"{settings.client_ca} has no certificate"
            raise SettingsError("client_ca", problem, "give a PEM file") from None
        except OSError as error:
            raise _unreadable("client_ca", settings.client_ca, error) from error
        required = settings.client_certificates == "required"
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return _Site(context, names)


def _load_pair(context: ssl.SSLContext, certificate: str, key: str, password: str) -> None:
    for where, file in (("certificate", certificate), ("key", key)):
        try:
            with open(file, "rb"):
                pass
        except OSError as error:
            raise _unreadable(where, file, error) from error
    try:
        context.load_cert_chain(certificate, key, lambda: password)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        remedies = {
            "KEY_VALUES_MISMATCH": ("it does not fit", "give the key of that certificate"),
            "NO_START_LINE": ("one of them is no PEM", "give the certificate and key as PEM"),
        }
        problem, remedy = remedies.get(
            reason, (f"it cannot be read ({reason.lower()})", "check the key and its password")
        )
        raise SettingsError("key", f"{key} with {certificate}: {problem}", remedy) from error


def _try(server: ssl.SSLContext, certificate: str) -> frozenset[str]:
    """Shakes hands with a pair, in memory; gives the names that it is for.

    Raises:
        SettingsError: When every client would refuse it: it has expired, say.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it is its own authority here
    try:
        client.load_verify_locations(cafile=certificate)
        one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
        theirs, ours = client.wrap_bio(one, other), server.wrap_bio(other, one, server_side=True)
        ends = [theirs, ours]
        while ends:
            ends = [end for end in ends if not _shake(end)]
    except ssl.SSLCertVerificationError as error:
        said = error.verify_message
        raise SettingsError("certificate", f"{certificate}: {said}", "renew it") from error
    except ssl.SSLError as error:
        said = f"{certificate}: no client can use it ({error.reason})"
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
