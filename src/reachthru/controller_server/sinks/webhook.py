"""One HTTP POST a fault change, with the same object as GET /v1/faults gives."""

import ssl
from types import TracebackType
from typing import ClassVar

import httpx
import msgspec

from reachthru import __version__
from reachthru.controller_server.model import Fault
from reachthru.controller_server.settings import WebhookSettings
from reachthru.controller_server.sinks.base import RefusedError, Sink

# 4xx that ask for patience, not for another request (RFC 9110, 6585, 8470).
_PATIENCE = frozenset({408, 425, 429})


class WebhookSink(Sink):
    name: ClassVar[str] = "webhook"
    concurrency = 8

    def __init__(self, settings: WebhookSettings) -> None:
        self.timeout_s = settings.timeout_s
        self.reconcile_s = settings.reconcile_interval_s or None
        self._url = settings.url
        trust = ssl.create_default_context()
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
        client = self._idle.pop()
        try:
            answer = await client.post(
                self._url,
                content=msgspec.json.encode(fault),
                headers={"Idempotency-Key": f"{fault.id}/{fault.status}"},
            )
        finally:
            self._idle.append(client)
        if answer.is_success:
            return
        said = f"{self._url} answered {answer.status_code} {answer.reason_phrase}"
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
