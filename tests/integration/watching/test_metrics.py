"""/metrics of the real daemons, as Prometheus' own tools see it."""

import re
import subprocess

import pytest

from lab.watched import until
from reachthru.controller_server import metric_table as controller
from reachthru.host_agent import metric_table as host

pytestmark = pytest.mark.xdist_group("watching")


def samples(text):
    """{series: value}"""
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {series: float(value) for series, _space, value in lines}


@pytest.fixture(params=["host", "controller"])
def served(request, watched, sick):
    """(the table, what the daemon serves)"""
    if request.param == "host":
        return host, watched.metrics(watched.host_metrics)
    return controller, watched.metrics(watched.api)


def test_promtool_finds_nothing_wrong(served):
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=served[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_everything_in_the_table_is_served_and_nothing_else(served):
    table, text = served
    types = dict(re.findall(r"^# TYPE (reachthru_\w+) (\w+)$", text, re.M))
    assert types.pop("reachthru_build_info") == "gauge"
    assert types == {one.name: one.kind.value for one in table.METRICS}
    for one in table.METRICS:
        assert f"# HELP {one.name} {one.help}\n" in text
    assert "process_resident_memory_bytes " in text


def test_no_instance_is_named_and_nothing_a_guest_said(served, watched):
    for uuid in watched.guests:
        assert uuid not in served[1]
    assert "forged" not in served[1]


def test_the_agent_counts_what_its_guests_do(watched, sick):
    found = samples(watched.metrics(watched.host_metrics))
    assert found['reachthru_agent_guests{condition="running"}'] == 3
    assert found["reachthru_agent_registered_guests"] == 3
    assert found["reachthru_agent_unhealthy_guests"] == 1
    assert found['reachthru_agent_ports{connected="true"}'] == 3
    assert found['reachthru_agent_heartbeats_total{outcome="answered"}'] > 3
    assert found['reachthru_agent_heartbeats_total{outcome="missed"}'] >= 1
    assert found['reachthru_agent_active_faults{kind="unhealthy"}'] == 1
    for status in ("raised", "cleared"):
        labels = f'kind="heartbeat_lost",status="{status}"'
        assert found[f"reachthru_agent_fault_changes_total{{{labels}}}"] >= 1
    assert found["reachthru_agent_bus_connected"] == found["reachthru_agent_bus_connections_total"]
    assert found["reachthru_agent_outbox_durable"] == 1
    assert found["reachthru_agent_discovery_connected"] == 1
    assert found["reachthru_agent_lateness_seconds_count"] > 10


def test_round_trips_are_sampled_at_scrapes(watched):
    def sampled():
        found = samples(watched.metrics(watched.host_metrics))
        count = found["reachthru_agent_heartbeat_round_trip_seconds_count"]
        return count > 3 and found

    found = until(sampled)
    inside = found['reachthru_agent_heartbeat_round_trip_seconds_bucket{le="0.25"}']
    assert inside > 0  # an interval is 0.2 s


def test_the_controller_follows_faults_to_their_sinks(watched, sick):
    def settled():
        found = samples(watched.metrics(watched.api))
        return found['reachthru_delivery_backlog_changes{sink="webhook"}'] == 0 and found

    found = until(settled)
    assert found['reachthru_active_faults{kind="unhealthy"}'] == 1
    assert found['reachthru_active_faults{kind="heartbeat_lost"}'] == 0
    changes = len(watched.told())
    assert changes >= 3
    assert found['reachthru_delivery_attempts_total{outcome="done",sink="webhook"}'] == changes
    assert found['reachthru_delivery_latency_seconds_count{sink="webhook"}'] == changes
    for stage in ("outbox", "stored"):
        assert found[f'reachthru_fault_stage_seconds_count{{stage="{stage}"}}'] == changes
    assert found['reachthru_sink_up{sink="webhook"}'] == 1
    assert found["reachthru_database_connected"] == 1
    assert found["reachthru_guests"] == 3
    assert 0 <= found["reachthru_agents_clock_offset_worst_seconds"] < 5


def test_a_scrape_costs_no_heartbeat(watched, sick):
    """Ten in a row, while three guests are challenged each 0.2 s."""
    before = samples(watched.metrics(watched.host_metrics))
    for _ in range(10):
        assert watched.metrics(watched.host_metrics)
    after = samples(watched.metrics(watched.host_metrics))
    missed = 'reachthru_agent_heartbeats_total{outcome="missed"}'
    assert after[missed] == before[missed]
