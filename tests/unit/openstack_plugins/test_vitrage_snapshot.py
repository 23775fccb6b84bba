"""What of a controller's active faults Vitrage is given."""

import importlib.util
from pathlib import Path

import pytest

from reachthru import openstack_plugins

SNAPSHOT = Path(openstack_plugins.__file__).parent / "vitrage/reachthru/snapshot.py"


@pytest.fixture
def snapshot():
    """The module alone: its package needs Vitrage."""
    spec = importlib.util.spec_from_file_location("snapshot", SNAPSHOT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_faults_in_a_maintenance_window_are_kept_from_vitrage(snapshot, monkeypatch):
    page = [{"id": "of an older controller"}, {"id": "told", "maintenance": None}]
    held = {"id": "held", "maintenance": "w1"}
    monkeypatch.setattr(snapshot, "_page", lambda *_session_url_marker, **_how: [*page, held])
    assert snapshot.active_faults(["http://x"], 1.0, {}) == page
