"""One HTTP POST a fault change, with the same object as GET /v1/faults gives.

With a secret, each POST is signed, so that who receives it can tell whose it is and that it is new:

    X-Reachthru-Timestamp: 1767225600            (seconds since 1970, when it was sent)
    X-Reachthru-Signature: v1=<hexadecimal HMAC-SHA256 of timestamp, ".", body>
"""

import hashlib
import hmac
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import urlsplit

import msgspec
from oslo_config import cfg

from reachthru.certificates import CertificateError, client_tls
from reachthru.controller_server.model import Fault
from reachthru.controller_server.sinks.base import Sink
from reachthru.controller_server.sinks.http import HttpClient
from reachthru.secret_files import SecretFile, SecretFileError, shown_url
from reachthru.service import SettingsError


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """No `key_file`: the key is in `cert_file`. No `secret`: nothing is signed.

    `reconcile_interval_s`: how often every active fault is told again; 0: never.
    """

    url: str
    timeout_s: float
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    secret: SecretFile | None = None
    reconcile_interval_s: float = 0.0


class WebhookSink(Sink):
    """Raises `CertificateError`."""

    name: ClassVar[str] = "webhook"
    OPTIONS: ClassVar[Sequence[cfg.Opt]] = [
        cfg.StrOpt("url", default="", help="Where each change of a fault is posted."),
        cfg.FloatOpt(
            "timeout", default=5.0, min=0.1, max=60.0, help="Seconds that an answer may take."
        ),
        cfg.StrOpt(
            "ca_file",
            default="",
            help="PEM: the authorities that may vouch for the receiver; empty: the machine's.",
        ),
        cfg.StrOpt(
            "cert_file", default="", help="PEM: our certificate, where the receiver wants one."
        ),
        cfg.StrOpt("key_file", default="", help="PEM: its key."),
        cfg.StrOpt(
            "secret_file",
            default="",
            help="Each POST is signed with this file's first line; empty: none is.",
        ),
        cfg.FloatOpt(
            "reconcile_interval",
            default=0.0,
            min=0.0,
            help="Seconds after which what is still active is told again; 0: never.",
        ),
    ]
    concurrency = 8

    @classmethod
    def configured(cls, path: Path, conf: cfg.ConfigOpts) -> Self:
        section = conf.sink_webhook
        if urlsplit(section.url).scheme not in ("http", "https"):
            raise SettingsError(
                f"{path}: [sink_webhook] url = {shown_url(section.url)}: must be http://... or "
                "https://..., since [sinks] enabled has webhook"
            )
        secret = SecretFile(Path(section.secret_file)) if section.secret_file else None
        settings = WebhookSettings(
            url=section.url,
            timeout_s=section.timeout,
            ca_file=section.ca_file or None,
            cert_file=section.cert_file or None,
            key_file=section.key_file or None,
            secret=secret,
            reconcile_interval_s=section.reconcile_interval,
        )
        try:
            if secret is not None:
                secret.lines()
            return cls(settings)
        except (SecretFileError, CertificateError) as error:
            raise SettingsError(f"{path}: [sink_webhook] {error}") from error

    def __init__(self, settings: WebhookSettings) -> None:
        self.timeout_s = settings.timeout_s
        self.reconcile_s = settings.reconcile_interval_s or None
        self._url = settings.url
        self._secret = settings.secret
        self._http = HttpClient(
            timeout_s=settings.timeout_s,
            tls=client_tls(settings.ca_file, settings.cert_file, settings.key_file),
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._http.__aexit__(*error)

    async def deliver(self, fault: Fault) -> None:
        body = msgspec.json.encode(fault)
        headers = {"Idempotency-Key": f"{fault.id}/{fault.status}"}
        if self._secret is not None:
            headers |= signature(self._secret.lines()[0], int(time.time()), body)
        answer = await self._http.send("POST", self._url, body, headers)
        answer.insist_on_yes()


def signature(secret: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers that sign `body`, sent at `timestamp` (seconds since 1970)."""
    signed = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "X-Reachthru-Timestamp": str(timestamp),
        "X-Reachthru-Signature": f"v1={signed.hexdigest()}",
    }
