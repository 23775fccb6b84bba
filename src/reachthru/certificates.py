"""Certificates from PEM files, and errors that say which file is not right.

Only the standard library: the operator's command line must start fast.
"""

import os
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from os import PathLike
from typing import Any

from reachthru.secret_files import SecretFileError, refuse_open

PemFile = str | PathLike[str]


class CertificateError(Exception):
    """One line: which file, and why it can't be used."""


def client_tls(
    ca_file: PemFile | None, cert_file: PemFile | None, key_file: PemFile | None
) -> ssl.SSLContext:
    """Verifies whom it talks to, by `ca_file` or else by the machine's authorities.

    `cert_file` is shown to who asks for one. Raises `CertificateError`.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        # Theirs alone: the machine's authorities vouch for the whole world.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        trust(context, ca_file)
    if cert_file is not None:
        load_certificate(context, cert_file, key_file)
    elif key_file is not None:
        raise CertificateError(f"key_file = {key_file}: is of no use without its cert_file")
    return context


def trust(context: ssl.SSLContext, ca_file: PemFile) -> None:
    """Raises `CertificateError`."""
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:
        raise CertificateError(f"ca_file = {ca_file}: {_reason(error)}") from error


def load_certificate(context: ssl.SSLContext, cert_file: PemFile, key_file: PemFile | None) -> None:
    """Raises `CertificateError`. Without `key_file`, the key is in `cert_file`, too."""
    try:
        secret = key_file if key_file is not None else cert_file
        refuse_open(secret, os.stat(secret))  # noqa: PTH116
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except SecretFileError as error:
        raise CertificateError(str(error)) from error
    except (OSError, ValueError) as error:
        key = f", key_file = {key_file}" if key_file is not None else ""
        raise CertificateError(f"cert_file = {cert_file}{key}: {_reason(error)}") from error


def valid_until(cert_file: PemFile, key_file: PemFile | None) -> datetime:
    """Until when a server may show it. Raises `CertificateError`, also where that is over.

    The standard library tells of a certificate only who was shown it: so it is, within here.
    """
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_certificate(server_side, cert_file, key_file)
    client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_side.check_hostname = False
    client_side.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it vouches for itself
    trust(client_side, cert_file)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server)
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    try:
        while client.version() is None or not client.getpeercert():
            for end in (client, server):
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLError as error:
        raise CertificateError(f"cert_file = {cert_file}: {ssl_reason(error)}") from error
    return end_of(dict(client.getpeercert() or {}))


def end_of(shown: Mapping[str, Any]) -> datetime:
    """Until when it is good, of what `ssl.SSLSocket.getpeercert` gives of a verified one."""
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)


def _no_password() -> str:
    """OpenSSL would ask the terminal, and wait."""
    raise ValueError("the key is encrypted; store it without a passphrase, for one user alone")


def ssl_reason(error: ssl.SSLError) -> str:
    """OpenSSL's word for it, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    return (error.reason or "no PEM file of the right kind").replace("_", " ").lower()


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return ssl_reason(error)
    return getattr(error, "strerror", None) or str(error)
