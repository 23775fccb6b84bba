"""REST over TLS, with certificates that may be renewed while it runs."""

import contextvars
import logging
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from reachthru.certificates import CertificateError, load_certificate, ssl_reason, trust

LOOK_INTERVAL_S = 1.0

_log = logging.getLogger(__name__)


class TlsSettings(Struct, frozen=True, kw_only=True):
    """`client_ca_file`: who asks must have a certificate of that authority; None: need not."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None

    @property
    def files(self) -> tuple[Path, ...]:
        files = (self.cert_file, self.key_file, self.client_ca_file)
        return tuple(file for file in files if file is not None)


_peer: contextvars.ContextVar[str] = contextvars.ContextVar("peer")


class PeerSocket(socket.socket):
    """A listener. What asyncio does for a connection runs in a context that knows whose it is."""

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        _peer.set(address[0])
        return connection, address


class ServerTls:
    """`context` is the server's. Raises `CertificateError`. `refused` gets (peer, why).

    When a file changes, connections from then on have what it says; what can't be used (a
    certificate whose key is not written yet) changes nothing and is tried again.
    """

    def __init__(self, settings: TlsSettings, refused: Callable[[str, str], None]) -> None:
        self._settings = settings
        self._seen = self._look()
        self._looked_at = time.monotonic()
        self._complaint = ""
        self.context = self._newest = self._load()
        self.context.sni_callback = self._choose

        class Handshake(ssl.SSLObject):
            """asyncio says nothing of a handshake that fails."""

            def do_handshake(self) -> None:
                try:
                    super().do_handshake()
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    raise
                except ssl.SSLError as error:
                    refused(_peer.get("somebody"), ssl_reason(error))
                    raise

        self.context.sslobject_class = Handshake

    def _choose(self, tls: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """OpenSSL asks this at the start of each handshake."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_INTERVAL_S:
            self._looked_at = now
            self._renew()
        tls.context = self._newest

    def _renew(self) -> None:
        seen = self._look()
        if seen == self._seen:
            return
        try:
            self._newest = self._load()
        except CertificateError as error:
            if self._complaint != str(error):
                self._complaint = str(error)
                _log.error("REST: %s; the certificate of before goes on", error)
            return
        self._seen, self._complaint = seen, ""
        _log.info("REST: new certificate from %s", self._settings.cert_file)

    def _look(self) -> list[tuple[int, int] | None]:
        return [_stamp(file) for file in self._settings.files]

    def _load(self) -> ssl.SSLContext:
        settings = self._settings
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A resumed session would outlive its client's certificate.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        load_certificate(context, settings.cert_file, settings.key_file)
        if settings.client_ca_file is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            trust(context, settings.client_ca_file)
        return context


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
