"""The [nova] section: ours and keystoneauth's options, strictly."""

import pytest

from reachthru import service
from reachthru.controller_server.nova.settings import nova_settings, options
from reachthru.service import SettingsError


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "controller.conf"
        path.write_text(f"[nova]\n{text}\n")
        return nova_settings(path, service.load(path, {"nova": options()}))

    return load


RABBIT = "notifications_url = rabbit://u:secret@broker:5672/"


def test_without_a_url_there_is_no_nova(load):
    assert load("") is None


def test_keystoneauths_options_are_taken(load):
    settings = load(
        f"{RABBIT}\nauth_type = password\nauth_url = http://keystone/v3\nusername = u\n"
        "password = p\nproject_name = service\nuser_domain_name = Default\n"
        "project_domain_name = Default\nregion_name = one\nvalid_interfaces = internal\n"
    )
    assert settings.conf.nova.auth_url == "http://keystone/v3"
    assert settings.conf.nova.region_name == "one"
    assert settings.snapshot_interval_s == 60.0
    assert settings.conf.nova.timeout == 10  # never for ever


def test_each_controller_has_a_queue_of_its_own_and_keeps_it(tmp_path):
    path = tmp_path / "controller.conf"
    path.write_text(f"[nova]\n{RABBIT}\nauth_type = none\n")
    conf = service.load(path, {"nova": options()})
    pools = [nova_settings(path, conf, port).notifications_pool for port in (8780, 8781, 8780)]
    assert pools[0] == pools[2] != pools[1]
    assert all(pool.startswith("reachthru-") for pool in pools)


@pytest.mark.parametrize("auth_type", ["none", "admin_token"])
def test_an_endpoint_can_be_named_where_there_is_no_keystone(load, auth_type):
    settings = load(f"{RABBIT}\nauth_type = {auth_type}\nendpoint_override = http://nova/v2.1")
    assert settings.conf.nova.endpoint_override == "http://nova/v2.1"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("notifications_url = mqtt://u:secret@broker/", "must be rabbit://"),
        (RABBIT, "auth_type = : must be set"),
        (f"{RABBIT}\nauth_type = kerberos9", "auth_type = kerberos9: must be"),
        (f"{RABBIT}\nauth_typ = none", "did you mean auth_type?"),
        (f"{RABBIT}\nauth_type = none\nsnapshot_interval_s = 0", "snapshot_interval_s"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line_without_the_password(load, text, reason):
    with pytest.raises(SettingsError) as caught:
        load(text)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("auth_type", "option"),
    [
        ("password", "password"),
        ("v3applicationcredential", "application_credential_secret"),
        ("v3token", "token"),
    ],
)
def test_the_secrets_can_stand_in_files(load, tmp_path, auth_type, option):
    for name in ("rabbit", "keystone"):
        (tmp_path / name).write_text(f"{name}'s secret\n")
        (tmp_path / name).chmod(0o600)
    settings = load(
        f"notifications_url = rabbit://u@broker/\nnotifications_password_file = {tmp_path}/rabbit\n"
        f"auth_type = {auth_type}\npassword_file = {tmp_path}/keystone"
    )
    assert settings.conf.nova[option] == "keystone's secret"
    assert settings.notifications_url == "rabbit://u:rabbit%27s%20secret@broker/"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("auth_type = none\npassword_file = /nowhere", "auth_type = none needs none"),
        ("auth_type = password\npassword_file = /nowhere", "/nowhere: No such file"),
        ("auth_type = password\npassword = p\npassword_file = /x", "password is set already"),
        ("auth_type = none\nnotifications_password_file = /x", "has a password already"),
    ],
)
def test_a_secret_has_one_place(load, text, says):
    with pytest.raises(SettingsError, match=says):
        load(f"{RABBIT}\n{text}")
