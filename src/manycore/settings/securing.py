"""What a server shows and asks of clients over TLS."""

from __future__ import annotations

from dataclasses import dataclass

from . import values
from .facts import setting


@dataclass(frozen=True, kw_only=True)
class SecuringSettings:
    """Settings of TLS."""

    certificate: tuple[str, ...] = setting(
        "",
        values.texts,
        "--certificate",
        metavar="FILE",
        many=True,
        remedy="give the path of a PEM file",
        topic="TLS",
        text="Serve over TLS with this certificate: a PEM file with the certificate and those of "
        "its issuers. May be given several times: clients get the one that names what they ask "
        "for, and else the first. The files are read again when they change.",
    )
    key: tuple[str, ...] = setting(
        "",
        values.texts,
        "--key",
        metavar="FILE",
        many=True,
        remedy="give one for each certificate, or none",
        topic="TLS",
        text="The certificate's private key, a PEM file. One for each certificate, in their order. "
        "By default it is in the certificate's file.",
    )
    key_password_file: str = setting(
        "",
        str,
        "--key-password-file",
        metavar="FILE",
        remedy="give a path",
        topic="TLS",
        text="A file whose first line is the password of the keys.",
    )
    client_ca: str = setting(
        "",
        str,
        "--client-ca",
        metavar="FILE",
        remedy="give the path of a PEM file",
        topic="TLS",
        text="Who signs the certificates of clients: a PEM file.",
    )
    client_certificates: str = setting(
        "required",
        values.one_of("optional", "required"),
        "--client-certificates",
        metavar="optional|required",
        remedy="give optional or required",
        topic="TLS",
        text="With client-ca: whether a client must have a certificate. One that it has is "
        "checked always.",
    )
    alpn: tuple[str, ...] = setting(
        "",
        values.protocols,
        "--alpn",
        metavar="NAME",
        many=True,
        remedy="give names such as h2 or http/1.1",
        topic="TLS",
        text="The protocols that clients may choose from (ALPN), the best one first. May be given "
        "several times.",
    )
    handshake_timeout: float = setting(
        10.0,
        values.positive_seconds,
        "--handshake-timeout",
        metavar="SECONDS",
        remedy="give a number of seconds above 0",
        topic="TLS",
        text="How long a client may take for its PROXY header and its TLS handshake together. "
        "Then it is disconnected.",
    )
