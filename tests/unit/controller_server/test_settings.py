"""controller.conf is read strictly, and its errors name what is wrong."""

from pathlib import Path

import pytest

from reachthru.bus import BusDoor
from reachthru.controller_server import settings
from reachthru.service import SettingsError

NOVA = "[sinks]\nenabled = nova\n[sink_nova]\nactions = reset_state\n"
WEBHOOK = "[sinks]\nenabled = webhook\n[sink_webhook]\nurl = http://x/\n"


def load(tmp_path, text):
    path = tmp_path / "controller.conf"
    path.write_text(text)
    return settings.load(path)


def test_an_empty_file_is_the_default_installation(tmp_path):
    loaded = load(tmp_path, "")
    assert loaded.embedded_port == 1883
    assert loaded.database_url == "sqlite:////var/lib/reachthru/controller.sqlite"
    assert (loaded.api.host, loaded.api.port) == ("127.0.0.1", 8780)
    assert [sink.name for sink in loaded.sinks] == ["log"]
    assert not loaded.debug
    assert loaded.groups_file is None
    assert not loaded.show_hosts


def test_every_key_is_read(tmp_path):
    password_file = tmp_path / "password"
    password_file.write_text("secret\n")
    password_file.chmod(0o600)
    loaded = load(
        tmp_path,
        f"""
        [DEFAULT]
        debug = true
        [bus]
        url = mqtts://broker
        username = me
        password_file = {password_file}
        [database]
        connection = sqlite:////x/y
        [api]
        listen = [::1]:99
        [groups]
        static_file = /etc/reachthru/groups.yaml
        show_hosts = true
        [sinks]
        enabled = webhook, log, webhook
        [sink_webhook]
        url = https://consumer/fault
        timeout = 2.5
        """.replace("        ", ""),
    )
    assert loaded.debug
    assert loaded.embedded_port is None
    assert loaded.bus_url == "mqtts://broker"
    assert loaded.bus_door == BusDoor(username="me", password_file=password_file)
    assert loaded.bus_door.password() == "secret"
    assert (loaded.api.host, loaded.api.port) == ("::1", 99)
    assert loaded.groups_file == Path("/etc/reachthru/groups.yaml")
    assert loaded.show_hosts
    assert [sink.name for sink in loaded.sinks] == ["webhook", "log"]
    assert loaded.sinks[0].timeout_s == 2.5


def test_the_embedded_broker_takes_a_port(tmp_path):
    assert load(tmp_path, "[bus]\nurl = mqtt://embedded:1999").embedded_port == 1999
    assert load(tmp_path, "[bus]\nurl = mqtt://embedded:0").embedded_port == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[sinks]\nenabled = log, pager", ["[sinks] enabled", "'pager'", "log, webhook"]),
        ("[sinks]\nenabled =", ["[sinks] enabled", "log, webhook"]),
        ("[sinks]\nenabled = webhook", ["[sink_webhook] url", "http"]),
        ("[sinks]\nenabled = webhook\n[sink_webhook]\nurl = ftp://x", ["ftp://x", "http"]),
        ("[sinks]\nenabled = mqtt", ["[sink_mqtt] url", "mqtt[s]://host[:port]"]),
        (
            "[sinks]\nenabled = mqtt\n[sink_mqtt]\nurl = mqtt://b\ntopic = a/#",
            ["[sink_mqtt] topic", "a/#"],
        ),
        (
            "[sinks]\nenabled = mqtt\n[sink_mqtt]\nurl = mqtts://b\nca_file = /nowhere",
            ["[sink_mqtt] ca_file = /nowhere"],
        ),
        ("[sinks]\nenabled = nova", ["[sink_nova] actions", "reset_state, force_down, corrective"]),
        (NOVA + "undo = corrective", ["[sink_nova] undo", "'corrective'", "reset_state"]),
        (NOVA + "kinds = host_lost", ["[sink_nova] kinds", "'host_lost'", "heartbeat_lost"]),
        (NOVA + "max_per_host = 0", ["[sink_nova] max_per_host"]),
        (NOVA, ["[nova] auth_type", "[sinks] enabled has nova"]),
        ("[sink_webhook]\ntimeout = soon", ["[sink_webhook] timeout", "soon"]),
        ("[sink_webhook]\ntimeout = 0", ["[sink_webhook] timeout"]),
        ("[api]\nlisten = 8780", ["[api] listen", "8780", "ADDRESS:PORT"]),
        ("[api]\nlisten = 127.0.0.1:http", ["[api] listen", "ADDRESS:PORT"]),
        ("[api]\nlisten = 127.0.0.1:99999", ["[api] listen", "99999"]),
        ("[bus]\nurl = mqtts://embedded", ["[bus] url", "mqtt://embedded[:port]"]),
        ("[bus]\nurl = mqtt://embedded:many", ["[bus] url", "many"]),
        ("[bus]\nurl = mqtt://me:secret@broker\nusername = you", ["[bus] url", "one of the two"]),
        ("[bus]\nurl = mqtts://broker\nusername = me", ["[bus]", "username and password_file"]),
        ("[bus]\nurl = mqtts://broker\nca_file = /nowhere", ["[bus] ca_file = /nowhere"]),
        ("[bus]\nurl = mqtt://broker\ncert_file = /x", ["[bus]", "cert_file", "mqtts://"]),
        ("[bus]\nurl = mqtt://embedded\nusername = me", ["[bus] url", "no locks"]),
        ("[bus]\nurll = x", ["[bus] urll", "did you mean url"]),
        ("[nova]\nauth_typ = password", ["[nova]", "did you mean auth_type"]),
        (
            "[nova]\nnotifications_url = rabbit://h\nauth_type = none\n[groups]\nstatic_file = x",
            ["[groups] static_file", "notifications_url"],
        ),
        ("[groups]\nstatic_fil = x", ["[groups]", "did you mean static_file"]),
        ("[groups]\nshow_hosts = perhaps", ["[groups] show_hosts", "perhaps"]),
        ("[api]\nlisten = 0.0.0.0:8780", ["[api] listen = 0.0.0.0:8780", "auth = token"]),
        ("[api]\nlisten = [::]:8780", ["[api] listen", "127.0.0.1"]),
        ("[api]\nlisten = controller:8780", ["[api] listen", "127.0.0.1"]),
        ("[api]\nauth = password", ["[api] auth = password", "none, token, keystone"]),
        ("[api]\nauth = token", ["[api] auth = token", "reader_token_file"]),
        ("[api]\nauth = token\nadmin_token_file = /nowhere", ["admin_token_file: /nowhere"]),
        ("[api]\nadmin_token_file = /nowhere", ["admin_token_file", "auth = token"]),
        ("[api]\nallowed_hosts = http://x", ["allowed_hosts: 'http://x'", "without scheme"]),
        ("[api]\nallowed_hosts = x:80", ["allowed_hosts: 'x:80'", "and port"]),
        (
            "[api]\nallowed_hosts = x\nauth = keystone\nkeystone_url = https://k",
            ["allowed_hosts", "leave it out", "auth = keystone"],
        ),
        ("[api]\nauth = keystone", ["keystone_url", "https://"]),
        ("[api]\nkeystone_url = https://k", ["keystone_url", "auth = keystone"]),
        (
            "[api]\nauth = keystone\nkeystone_url = https://k\nkeystone_ca_file = /nowhere",
            ["[api] keystone_ca_file = /nowhere: No such file"],
        ),
        ("[api]\ntls_cert_file = x", ["tls_cert_file and tls_key_file"]),
        ("[api]\ntls_client_ca_file = x", ["tls_client_ca_file", "tls_cert_file"]),
        (WEBHOOK + "ca_file = /nowhere", ["[sink_webhook]", "/nowhere: No such file"]),
        (WEBHOOK + "cert_file = /nowhere", ["[sink_webhook]", "/nowhere: No such file"]),
        (WEBHOOK + "key_file = /nowhere", ["[sink_webhook]", "without its cert_file"]),
        (WEBHOOK + "secret_file = /nowhere", ["[sink_webhook]", "/nowhere: No such file"]),
        ("[database]\npassword_file = /nowhere", ["[database] password_file: /nowhere: No such"]),
        ("[DEFAULT]\ndebug = perhaps", ["debug", "perhaps"]),
        ("nonsense", []),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, words):
    with pytest.raises(SettingsError) as refusal:
        load(tmp_path, text)
    line = str(refusal.value)
    assert "controller.conf" in line
    assert "\n" not in line
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    "text",
    [
        "[bus]\nurl = mqtt://u:hunter2@embedded/x",
        "[bus]\nurl = carrier-pigeon://u:hunter2@h",
        "[sinks]\nenabled = webhook\n[sink_webhook]\nurl = htps://u:hunter2@h/?token=hunter2",
        "[api]\nauth = keystone\nkeystone_url = htps://u:hunter2@h",
        "[nova]\nnotifications_url = amqp://u:hunter2@h",
        "[nova]\npasword = hunter2",
        "[database]\nconnection = postgresql://u:hunter2@h/d\npassword_file = /nowhere",
    ],
)
def test_an_error_shows_no_secret(tmp_path, text):
    with pytest.raises(SettingsError) as refusal:
        load(tmp_path, text)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "[::1]", "localhost"])
def test_this_machine_may_ask_without_a_token(tmp_path, address):
    assert not load(tmp_path, f"[api]\nlisten = {address}:1").api.locked


def test_names_of_a_proxy_may_be_allowed(tmp_path):
    loaded = load(tmp_path, "[api]\nallowed_hosts = Controller.Example, [fd00::1]")
    assert loaded.api.allowed_hosts == {"controller.example", "[fd00::1]"}


def test_with_tokens_it_listens_anywhere(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token")
    tokens.chmod(0o600)
    loaded = load(tmp_path, f"[api]\nlisten = [::]:1\nauth = token\nreader_token_file = {tokens}")
    assert loaded.api.locked


@pytest.mark.parametrize("url", ["", "notifications_url = rabbit://r/\n"])
def test_the_nova_sink_has_the_connection_of_the_nova_section(tmp_path, url):
    password_file = tmp_path / "password"
    password_file.write_text("hunter2\n")
    password_file.chmod(0o600)
    loaded = load(
        tmp_path,
        f"{NOVA}[nova]\n{url}auth_type = password\nauth_url = http://k/v3\nusername = u\n"
        f"password_file = {password_file}\n",
    )
    assert [sink.name for sink in loaded.sinks] == ["nova"]
    assert loaded.sinks[0].timeout_s == 30.0  # three calls of 10 s each
