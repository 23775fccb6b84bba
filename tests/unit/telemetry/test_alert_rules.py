"""The alert rules, as Prometheus' own promtool sees them: each fires when it should, and has a
section in docs/alerts.md that says what to do."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from reachthru.controller_server import metric_table as controller
from reachthru.host_agent import metric_table as host

ROOT = Path(__file__).parents[3]
RULES = ROOT / "packaging" / "prometheus" / "reachthru.rules.yml"
RUNBOOK = ROOT / "docs" / "alerts.md"

RAISED = 'reachthru_fault_changes_total{kind="heartbeat_lost",status="raised"'
# A cloud on a good day. `values` are promtool's: start, step, how often.
HEALTHY = {
    'up{job="reachthru-host",instance="c0"}': "1x60",
    'up{job="reachthru-controller",instance="ctl0"}': "1x60",
    'up{job="reachthru-controller",instance="ctl1"}': "1x60",
    'reachthru_agent_lost_time_seconds_total{instance="c0"}': "0.1x60",
    'reachthru_agent_lateness_seconds_bucket{instance="c0",le="0.002"}': "0+990x60",
    'reachthru_agent_lateness_seconds_bucket{instance="c0",le="0.05"}': "0+1000x60",
    'reachthru_agent_lateness_seconds_bucket{instance="c0",le="+Inf"}': "0+1000x60",
    'reachthru_agent_discovery_connected{instance="c0"}': "1x60",
    'reachthru_active_faults{kind="never_registered"}': "0x60",
    'reachthru_agent_guest_dropped_lines_total{instance="c0"}': "5x60",
    f'{RAISED},instance="ctl0"}}': "0+1x60",
    f'{RAISED},instance="ctl1"}}': "0+1x60",
    "reachthru_hosts_lost": "0x60",
    "reachthru_carrier_suspected": "0x60",
    'reachthru_agent_bus_connected{job="reachthru-host",instance="c0"}': "1x60",
    'reachthru_bus_connected{job="reachthru-controller",instance="ctl0"}': "1x60",
    'reachthru_agent_outbox_changes{instance="c0"}': "2 0x60",
    'reachthru_agent_outbox_oldest_seconds{instance="c0"}': "1 0x60",
    'reachthru_agent_outbox_durable{instance="c0"}': "1x60",
    "reachthru_agents_clock_offset_worst_seconds": "0.02x60",
    'reachthru_controller_leader{instance="ctl0"}': "1x60",
    'reachthru_controller_leader{instance="ctl1"}': "0x60",
    'reachthru_database_connected{instance="ctl0"}': "1x60",
    'reachthru_sink_up{sink="webhook",instance="ctl0"}': "1x60",
    'reachthru_delivery_backlog_oldest_seconds{sink="webhook"}': "0.5x60",
    'reachthru_delivery_attempts_total{sink="webhook",outcome="failed"}': "3x60",
    'reachthru_delivery_latency_seconds_bucket{sink="webhook",le="0.5"}': "0+10x60",
    'reachthru_delivery_latency_seconds_bucket{sink="webhook",le="2.5"}': "0+10x60",
    'reachthru_delivery_latency_seconds_bucket{sink="webhook",le="+Inf"}': "0+10x60",
}

# What is different when an alert fires, from the first minute on.
TROUBLE = {
    "ReachthruAgentDown": {'up{job="reachthru-host",instance="c0"}': "0x60"},
    "ReachthruAgentLate": {'reachthru_agent_lost_time_seconds_total{instance="c0"}': "0+3x60"},
    "ReachthruDiscoveryLost": {'reachthru_agent_discovery_connected{instance="c0"}': "0x60"},
    "ReachthruGuestsNeverRegistered": {'reachthru_active_faults{kind="never_registered"}': "2x60"},
    "ReachthruGuestFlooding": {
        'reachthru_agent_guest_dropped_lines_total{instance="c0"}': "0+6000x60"
    },
    "ReachthruFaultStorm": {f'{RAISED},instance="ctl0"}}': "0+20x60"},
    "ReachthruHostsLost": {"reachthru_hosts_lost": "1x60"},
    "ReachthruCarrierSuspected": {"reachthru_carrier_suspected": "1x60"},
    "ReachthruBusLost": {
        'reachthru_agent_bus_connected{job="reachthru-host",instance="c0"}': "0x60"
    },
    "ReachthruOutboxGrowing": {
        'reachthru_agent_outbox_changes{instance="c0"}': "1+1x60",
        'reachthru_agent_outbox_oldest_seconds{instance="c0"}': "0+60x60",
    },
    "ReachthruOutboxBroken": {'reachthru_agent_outbox_durable{instance="c0"}': "0x60"},
    "ReachthruClockOff": {"reachthru_agents_clock_offset_worst_seconds": "3600x60"},
    "ReachthruControllerDown": {'up{job="reachthru-controller",instance="ctl1"}': "0x60"},
    "ReachthruNoController": {
        'up{job="reachthru-controller",instance="ctl0"}': "_x60",
        'up{job="reachthru-controller",instance="ctl1"}': "_x60",
    },
    "ReachthruNoLeader": {'reachthru_controller_leader{instance="ctl0"}': "0x60"},
    "ReachthruDatabaseLost": {'reachthru_database_connected{instance="ctl0"}': "0x60"},
    "ReachthruSinkFailing": {'reachthru_sink_up{sink="webhook",instance="ctl0"}': "0x60"},
    "ReachthruSinkBacklogOld": {
        'reachthru_delivery_backlog_oldest_seconds{sink="webhook"}': "0+60x60"
    },
    "ReachthruDeliveryGivenUp": {
        'reachthru_delivery_attempts_total{sink="webhook",outcome="failed"}': "3+1x60"
    },
    "ReachthruDeliverySlow": {
        'reachthru_delivery_latency_seconds_bucket{sink="webhook",le="0.5"}': "0+1x60"
    },
}


def promtool(*arguments, folder=None):
    done = subprocess.run(
        ["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules():
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


def case(series, firing):
    """All alerts that fire after 20 minutes of `series` are `firing`."""
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in firing]
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "20m",
                "exp_samples": samples,
            }
        ],
    }


def run_cases(tmp_path, *cases):
    content = {"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": list(cases)}
    (tmp_path / "cases.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    promtool("test", "rules", "cases.yml", folder=tmp_path)


def test_promtool_finds_nothing_wrong():
    promtool("check", "rules", str(RULES))


def test_on_a_good_day_none_fires(tmp_path):
    run_cases(tmp_path, case(HEALTHY, []))


def test_each_fires_for_its_own_trouble_and_no_other_does(tmp_path):
    assert set(TROUBLE) == {rule["alert"] for rule in rules()}
    run_cases(tmp_path, *(case(HEALTHY | differs, [name]) for name, differs in TROUBLE.items()))


def test_every_controller_down_is_more_than_one(tmp_path):
    both = {f'up{{job="reachthru-controller",instance="ctl{n}"}}': "0x60" for n in (0, 1)}
    firing = case(HEALTHY | both, ["ReachthruControllerDown", "ReachthruNoController"])
    firing["promql_expr_test"][0]["exp_samples"][0]["value"] = 2
    run_cases(tmp_path, firing)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_each_says_what_to_do(rule):
    name = rule["alert"]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(f"docs/alerts.md#{name.lower()}")
    section = RUNBOOK.read_text().partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert "\n1. " in section


def test_the_runbook_has_no_section_of_an_alert_that_is_gone():
    sections = re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.M)
    assert sections == [rule["alert"] for rule in rules()]


def test_they_ask_for_metrics_that_exist():
    served = {one.name for one in (*host.METRICS, *controller.METRICS)}
    asked = set(re.findall(r"reachthru_\w+", " ".join(rule["expr"] for rule in rules())))
    assert {re.sub(r"_bucket$", "", name) for name in asked} <= served
