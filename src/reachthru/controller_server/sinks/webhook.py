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

import aiohttp
import msgspec

from reachthru import __version__
from reachthru.certificates import client_tls
from reachthru.controller_server.model import Fault
from reachthru.controller_server.settings import WebhookSettings
from reachthru.controller_server.sinks.base import NotNowError, RefusedError, Sink
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
        self._tls = client_tls(settings.ca_file, settings.cert_file, settings.key_file)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(self.timeout_s),
            headers={
                "Content-Type": "application/json",
                "User-Agent": f"reachthru-controller/{__version__}",
            },
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def deliver(self, fault: Fault) -> None:
        body = msgspec.json.encode(fault)
        headers = {"Idempotency-Key": f"{fault.id}/{fault.status}"}
        if self._secret is not None:
            headers |= signature(self._secret.lines()[0], int(time.time()), body)
        # A redirect is a no: nobody may lead faults elsewhere.
        async with self._session.post(
            self._url, data=body, headers=headers, allow_redirects=False
        ) as answer:
            status, reason = answer.status, answer.reason
        if 200 <= status < 300:
            return
        said = f"{self._shown} answered {status} {reason}"
        if 400 <= status < 500 and status not in _PATIENCE:
            raise RefusedError(said)
        raise NotNowError(said)


def signature(secret: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers that sign `body`, sent at `timestamp` (seconds since 1970)."""
    signed = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "X-Reachthru-Timestamp": str(timestamp),
        "X-Reachthru-Signature": f"v1={signed.hexdigest()}",
    }
