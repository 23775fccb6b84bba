"""One HTTP POST a fault change, with the same object as GET /v1/faults gives.

With a secret, each POST is signed, so that who receives it can tell whose it is and that it is new:

    X-Reachthru-Timestamp: 1767225600            (seconds since 1970, when it was sent)
    X-Reachthru-Signature: v1=<hexadecimal HMAC-SHA256 of timestamp, ".", body>
"""

import hashlib
import hmac
import ssl
import time
from types import TracebackType
from typing import ClassVar

import httpx
import msgspec

from reachthru import __version__
from reachthru.certificates import client_tls
from reachthru.controller_server.model import Fault
from reachthru.controller_server.settings import WebhookSettings
from reachthru.controller_server.sinks.base import RefusedError, Sink
from reachthru.secret_files import origin

# 4xx that ask for patience, not for another request (RFC 9110, 6585, 8470).
_PATIENCE = frozenset({408, 425, 429})


class WebhookSink(Sink):
    name: ClassVar[str] = "webhook"
    concurrency = 8

    def __init__(self, settings: WebhookSettings) -> None:
        self.timeout_s = settings.timeout_s
        self.reconcile_s = settings.reconcile_interval_s or None
        self._url = settings.url
        self._shown = origin(settings.url)
        self._secret = settings.secret
        trust = client_tls(settings.ca_file, settings.cert_file, settings.key_file)
        # One client, with one connection, for each that may be on its way: a pool looks at
        # all of its connections for every request, which doubles what a request costs.
        self._idle = [self._client(trust) for _ in range(self.concurrency)]

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for client in self._idle:
            await client.aclose()

    async def deliver(self, fault: Fault) -> None:
        body = msgspec.json.encode(fault)
        headers = {"Idempotency-Key": f"{fault.id}/{fault.status}"}
        if self._secret is not None:
            headers |= signature(self._secret.lines()[0], int(time.time()), body)
        client = self._idle.pop()
        try:
            answer = await client.post(self._url, content=body, headers=headers)
        finally:
            self._idle.append(client)
        if answer.is_success:
            return
        said = f"{self._shown} answered {answer.status_code} {answer.reason_phrase}"
        if answer.is_client_error and answer.status_code not in _PATIENCE:
            raise RefusedError(said)
        raise httpx.HTTPStatusError(said, request=answer.request, response=answer)

    def _client(self, trust: ssl.SSLContext) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            verify=trust,
            timeout=self.timeout_s,
            limits=httpx.Limits(max_connections=1, keepalive_expiry=60),
            headers={
                "Content-Type": "application/json",
                "User-Agent": f"reachthru-controller/{__version__}",
            },
        )


def signature(secret: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers that sign `body`, sent at `timestamp` (seconds since 1970)."""
    signed = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "X-Reachthru-Timestamp": str(timestamp),
        "X-Reachthru-Signature": f"v1={signed.hexdigest()}",
    }
