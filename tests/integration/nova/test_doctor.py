"""`reachthru doctor` beside a real Nova: may we read what we need?"""

import pytest

from integration.doctor.conftest import examine
from servers.ports import free_port

pytestmark = pytest.mark.xdist_group("nova")  # one Nova and one RabbitMQ for all


@pytest.fixture
def settings(nova, tmp_path):
    """settings(user) -> a file of settings, with a token of that user's."""

    def make(user):
        path = tmp_path / "controller.conf"
        path.write_text(
            f"[api]\nlisten = 127.0.0.1:{free_port()}\n"
            f"[bus]\nurl = mqtt://embedded:{free_port()}\n"
            f"[database]\nconnection = sqlite:///{tmp_path}/c.sqlite\n"
            f"[nova]\nnotifications_url = {nova.rabbit.url}\nauth_type = admin_token\n"
            f"endpoint = {nova.url}\ntoken = {user}:{'a' * 32}\nendpoint_override = {nova.url}\n"
        )
        path.chmod(0o600)
        return path

    return make


def test_an_admin_may_read_all_projects(settings, nova):
    nova.group()
    found = examine("controller", settings("admin"))
    (nova_s,) = [one for one in found if one["check"] == "Nova"]
    assert nova_s["mark"] == "ok"
    assert "all projects' groups and servers" in nova_s["text"]


def test_a_member_of_one_project_may_not(settings):
    found = examine("controller", settings("somebody"))
    assert "Policy doesn't allow" in found.the_wrong("Nova")
    (remedy,) = [one["remedy"] for one in found if one["check"] == "Nova"]
    assert "role admin" in remedy
