"""The Grafana dashboard: in Grafana's own types, and with data of the real daemons in every panel.

No Grafana can be had from where this is tested (Debian, PyPI, npm): grafana-foundation-sdk is
generated from the schema that Grafana checks a dashboard with.
"""

import json
import re
from pathlib import Path

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel, RowPanel

from lab.watched import until
from reachthru.controller_server import metric_table as controller
from reachthru.host_agent import metric_table as host

pytestmark = pytest.mark.xdist_group("watching")
FILE = Path(__file__).parents[3] / "packaging" / "grafana" / "reachthru.json"
WRITTEN = json.loads(FILE.read_text())
PANELS = [panel for panel in WRITTEN["panels"] if panel["type"] != "row"]
VARIABLES = {"$host": ".*", "$__rate_interval": "10s"}


def filled_in(expression):
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def lost(written, read, path=""):
    """What was written and is not there, or not the same, once it was read."""
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            yield from lost(value, read.get(key), f"{path}/{key}")
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for number, (one, other) in enumerate(zip(written, read, strict=True)):
            yield from lost(one, other, f"{path}/{number}")
    elif written != read:
        yield path, written, read


def test_grafanas_own_types_know_every_word_of_it():
    register_default_plugins()
    read = Dashboard.from_json(WRITTEN)
    assert all(isinstance(panel, Panel | RowPanel) for panel in read.panels)
    assert list(lost(WRITTEN, json.loads(json.dumps(read, cls=JSONEncoder)))) == []


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    panels = WRITTEN["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells


def test_it_asks_for_metrics_that_exist():
    served = {one.name for one in (*host.METRICS, *controller.METRICS)}
    asked = set(re.findall(r"reachthru_\w+", json.dumps(PANELS)))
    assert {re.sub(r"_bucket$", "", name) for name in asked} <= served


def test_its_list_of_hosts_is_prometheus_own(watched):
    (variable,) = (one for one in WRITTEN["templating"]["list"] if one["name"] == "host")
    series = re.fullmatch(r"label_values\((.*), instance\)", variable["query"]["query"])[1]
    found = until(lambda: watched.query(series))
    assert [one["metric"]["instance"] for one in found] == [f"127.0.0.1:{watched.host_metrics}"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_query_of_a_panel_answers_with_data(panel, watched, sick):
    assert panel["datasource"]["uid"] == "${datasource}"
    for target in panel["targets"]:
        found = until(lambda target=target: watched.query(filled_in(target["expr"])))
        labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert labels <= set(found[0]["metric"])


def test_no_alert_fires_while_it_is_well(watched, sick):
    until(lambda: watched.query('up{job="reachthru-host"}'))
    assert watched.query('ALERTS{alertstate="firing"}') == []
