"""`reachthru doctor` beside a real Nova: may we read what we need?"""

import pytest

from integration.doctor.conftest import examine
from servers.ports import free_port

pytestmark = pytest.mark.xdist_group("nova")  # one Nova and one RabbitMQ for all


@pytest.fixture
def settings(nova, tmp_path):
    """settings(user, news) -> a file of settings, with a token of that user's."""

    def make(user, news=nova.rabbit.url):
        path = tmp_path / "controller.conf"
        path.write_text(
            f"[api]\nlisten = 127.0.0.1:{free_port()}\n"
            f"[bus]\nurl = mqtt://embedded:{free_port()}\n"
            f"[database]\nconnection = sqlite:///{tmp_path}/c.sqlite\n"
            f"[nova]\nnotifications_url = {news}\nauth_type = admin_token\n"
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
    (news,) = [one for one in found if one["check"] == "Nova's news"]
    assert news["mark"] == "ok" and "takes us: RabbitMQ 3." in news["text"]


def test_novas_broker_refuses_the_password(settings, nova):
    url = nova.rabbit.url.replace("//guest:guest@", "//guest:of-yesterday@")
    assert "of-yesterday" in url
    found = examine("controller", settings("admin", url))
    assert "password" in found.the_wrong("Nova's news")
    assert "of-yesterday" not in str(found)


def test_a_member_of_one_project_may_not(settings):
    found = examine("controller", settings("somebody"))
    assert "Policy doesn't allow" in found.the_wrong("Nova")
    (remedy,) = [one["remedy"] for one in found if one["check"] == "Nova"]
    assert "role admin" in remedy
