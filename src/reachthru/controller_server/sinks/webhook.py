"""One HTTP POST a fault change, with the same object as GET /v1/faults gives.

With a secret, each POST is signed, so that who receives it can tell whose it is and that it is new:

    X-Reachthru-Timestamp: 1767225600            (seconds since 1970, when it was sent)
    X-Reachthru-Signature: v1=<hexadecimal HMAC-SHA256 of timestamp, ".", body>
"""

import hashlib
import hmac
import time
from types import TracebackType
from typing import ClassVar, Self

import msgspec

from reachthru.certificates import client_tls
from reachthru.controller_server.model import Fault
from reachthru.controller_server.settings import WebhookSettings
from reachthru.controller_server.sinks.base import Sink
from reachthru.controller_server.sinks.http import HttpClient


class WebhookSink(Sink):
    name: ClassVar[str] = "webhook"
    concurrency = 8

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

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)

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
