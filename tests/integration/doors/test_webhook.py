"""The webhook over TLS: whom it trusts, and how it is known."""

import asyncio
import contextlib
import ssl

import aiohttp
import pytest

from reachthru.certificates import client_tls, load_certificate, trust
from reachthru.controller_server.model import Fault
from reachthru.controller_server.sinks.webhook import WebhookSettings, WebhookSink

FAULT = Fault(
    id="fault-1",
    kind="unhealthy",
    severity="major",
    status="raised",
    instance_uuid="uuid-1",
    instance_name="db",
    host="compute-0",
    raised_at="2026-01-01T00:00:00.000000+00:00",
    cleared_at=None,
    detail="disk full",
    corrective_action="log",
    stages_ms={},
    deliveries=[],
)


@pytest.fixture
async def receiver(pki):
    """Its URL; it takes who has a certificate of the authority."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_certificate(tls, *pki.server("localhost"))
    trust(tls, pki.ca)
    tls.verify_mode = ssl.CERT_REQUIRED

    async def serve(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    yield f"https://localhost:{server.sockets[0].getsockname()[1]}/fault"
    server.close()


async def tell(url, ca=None, certificate=None, key=None):
    settings = WebhookSettings(
        url=url, timeout_s=5.0, ca_file=ca, cert_file=certificate, key_file=key
    )
    async with WebhookSink(settings) as sink:
        await sink.deliver(FAULT)


async def test_both_ends_are_verified(receiver, pki, make_pki):
    certificate, key = pki.client("controller")
    await tell(receiver, pki.ca, certificate, key)
    with pytest.raises(aiohttp.ClientConnectorError, match="certificate verify failed"):
        await tell(receiver, None, certificate, key)
    with pytest.raises(aiohttp.ClientConnectorError, match="certificate verify failed"):
        await tell(receiver, make_pki().ca, certificate, key)
    with pytest.raises(aiohttp.ClientConnectorError, match="certificate verify failed"):
        await tell(receiver.replace("localhost", "127.0.0.1"), pki.ca, certificate, key)
    with pytest.raises(aiohttp.ClientError):
        await tell(receiver, pki.ca)


def test_certificates_that_cant_be_used_are_said_so(pki, make_pki):
    from reachthru.certificates import CertificateError

    certificate, key = pki.client("somebody")
    key.chmod(0o644)
    with pytest.raises(CertificateError, match="open to every user"):
        client_tls(None, certificate, key)
    key.chmod(0o600)
    other = make_pki().client("somebody")[1]
    with pytest.raises(CertificateError, match="key values mismatch"):
        client_tls(None, certificate, other)
    key.write_text("no key")
    with pytest.raises(CertificateError, match=str(key)):
        client_tls(None, certificate, key)
