"""Prometheus' door into the host agent: locked where the settings say so, and never in the way."""

import asyncio
import ssl
import time
import urllib.request

import pytest
from prometheus_client.core import Metric

from reachthru.certificates import client_tls
from reachthru.host_agent import metric_table, metrics_door
from reachthru.host_agent.metrics_door import metrics_door as open_door
from reachthru.host_agent.settings import MetricsSettings
from reachthru.host_agent.start_error import StartError
from reachthru.telemetry.exposition import family


class Source:
    """What an agent knows. `hangs`: its event loop does not turn."""

    hangs = False

    async def families(self) -> list[Metric]:
        if self.hangs:
            time.sleep(1.5)
        return [family(metric_table.OUTBOX, 3)]


def settings(port: int = 0, **files) -> MetricsSettings:
    locks = {"cert_file": None, "key_file": None, "client_ca_file": None}
    return MetricsSettings(host="127.0.0.1", port=port, **(locks | files))


async def ask(port: int, context: ssl.SSLContext | None = None) -> str:
    scheme = "http" if context is None else "https"

    def get() -> str:
        url = f"{scheme}://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(url, timeout=20, context=context) as answer:
            return answer.read().decode()

    return await asyncio.to_thread(get)


async def test_it_serves_what_the_agent_knows_now():
    async with open_door(settings(), Source()) as port:
        text = await ask(port)
    assert "reachthru_agent_outbox_changes 3.0" in text
    assert "reachthru_build_info{" in text
    assert "process_cpu_seconds_total" in text
    with pytest.raises(OSError):
        await ask(port)  # it is closed


async def test_an_agent_that_hangs_is_down_for_prometheus_as_well(monkeypatch):
    monkeypatch.setattr(metrics_door, "READ_LIMIT_S", 0.3)
    source = Source()
    async with open_door(settings(), source) as port:
        source.hangs = True
        with pytest.raises(OSError):
            await ask(port)
        source.hangs = False
        assert "outbox" in await ask(port)


async def test_with_an_authority_only_its_own_may_ask(pki):
    cert, key = pki.server("127.0.0.1")
    door = settings(cert_file=cert, key_file=key, client_ca_file=pki.ca)
    async with open_door(door, Source()) as port:
        with pytest.raises(OSError):
            await ask(port, client_tls(pki.ca, None, None))
        assert "outbox" in await ask(port, client_tls(pki.ca, *pki.client("prometheus")))


async def test_a_port_that_is_taken_is_said_in_one_line():
    async with open_door(settings(), Source()) as port:
        with pytest.raises(StartError, match=rf"\[metrics\] listen = 127.0.0.1:{port}: .*in use"):
            async with open_door(settings(port), Source()):
                pass


async def test_a_certificate_that_cant_be_used_is_said_in_one_line(tmp_path):
    (tmp_path / "cert.pem").write_text("no certificate")
    (tmp_path / "cert.pem").chmod(0o600)
    with pytest.raises(StartError, match=r"\[metrics\] tls_cert_file = .*cert.pem"):
        async with open_door(settings(cert_file=tmp_path / "cert.pem"), Source()):
            pass
