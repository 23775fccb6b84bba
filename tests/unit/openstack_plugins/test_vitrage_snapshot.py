"""What of a controller's active faults Vitrage is given."""

from reachthru.openstack_plugins.vitrage.reachthru import snapshot


def test_faults_in_a_maintenance_window_are_kept_from_vitrage(monkeypatch):
    page = [{"id": "old controller's"}, {"id": "told", "maintenance": None}]
    held = {"id": "held", "maintenance": "w1"}
    monkeypatch.setattr(snapshot, "_page", lambda *_session_url_marker, **_how: [*page, held])
    assert snapshot.active_faults(["http://x"], 1.0, {}) == page
