"""What an operator reads when a setting is wrong, and what a right one means."""

import os

import pytest

from reachthru.guest_daemon import settings
from reachthru.guest_daemon.errors import SettingsError
from reachthru.guest_daemon.port_address import PortAddress


@pytest.fixture
def load(tmp_path):
    def load_text(text):
        path = tmp_path / "guest.toml"
        path.write_text(text)
        return settings.load(str(path))

    return load_text


def test_defaults_need_no_section(load):
    found = load("")
    assert found.port == PortAddress("virtio", "/dev/virtio-ports/cgcs.messaging")
    assert found.dialect == "mux"
    assert found.policy.interval_ms == 400
    assert found.policy.corrective_action == "log"
    assert found.policy.name == os.uname().nodename
    assert found.checks == ()
    assert found.applications_socket == "/run/reachthru/guest.sock"


def test_a_missing_default_file_means_defaults(monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "DEFAULT_PATH", str(tmp_path / "none.toml"))
    assert settings.load().path is None


def test_a_missing_file_that_was_named_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.toml: can't read the settings: No such file"):
        settings.load(str(tmp_path / "none.toml"))


def test_every_key_is_read(load):
    found = load(
        '[channel]\nport = "serial:///dev/ttyS1?baudrate=9600"\ndialect = "bare"\n'
        '[heartbeat]\ninterval_ms = 1000\ncorrective_action = "reboot"\nname = "web-1"\n'
        '[[health_check]]\nname = "db"\ncommand = ["/bin/db", "-q"]\n'
        "interval_s = 5\ntimeout_s = 1\n"
        '[[health_check]]\nname = "web"\nsystemd_unit = "nginx.service"\n'
        '[[health_check]]\nname = "ops"\nunhealthy_file = "/run/reachthru/unhealthy"\n'
        '[applications]\nsocket = "/tmp/door"\n'
    )
    assert found.port == PortAddress("serial", "/dev/ttyS1", 9600)
    assert found.dialect == "bare"
    assert (found.policy.interval_ms, found.policy.name) == (1000, "web-1")
    assert found.policy.corrective_action == "reboot"
    db, web, ops = found.checks
    assert (db.command, db.interval_s, db.timeout_s) == (("/bin/db", "-q"), 5, 1)
    assert web.systemd_unit == "nginx.service"
    assert ops.unhealthy_file == "/run/reachthru/unhealthy"
    assert found.applications_socket == "/tmp/door"


@pytest.mark.parametrize(("level", "interval_ms"), [("SAL1", 400), ("SAL2", 2000), ("SAL3", 4000)])
def test_service_levels(load, level, interval_ms):
    assert load(f'[heartbeat]\nservice_level = "{level}"').policy.interval_ms == interval_ms


PORTS = "allowed: virtio:///dev/..., serial:///dev/...?baudrate=N or unix:///path"
COMMANDS = 'allowed: a list of texts whose first is an absolute path: ["/path/to/check", "arg"]'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[chanel]", "[chanel]: no such section; did you mean channel?"),
        ("zzz = 1", "zzz = 1: no such section; allowed: channel, heartbeat, health_check"),
        ("channel = 3", "[channel]: it is a section with keys, not 3"),
        ('[channel]\nprot = "x"', '[channel] prot = "x": no such key; did you mean port?'),
        ("[channel]\nzzz = 1", "[channel] zzz = 1: no such key; allowed: port, dialect"),
        ('[channel]\ndialect = "x"', '[channel] dialect = "x": allowed: "mux" or "bare"'),
        ("[channel]\nport = 3", f"[channel] port = 3: {PORTS}"),
        ('[channel]\nport = "tcp://x"', f'[channel] port = "tcp://x": {PORTS}'),
        ('[channel]\nport = "unix://x"', f'[channel] port = "unix://x": {PORTS}'),
        ('[channel]\nport = "unix:///x?a=1"', PORTS),
        ('[channel]\nport = "serial:///x?baudrate=fast"', PORTS),
        ('[channel]\nport = "serial:///x?baudrate=0"', PORTS),
        ('[heartbeat]\nservice_level = "SAL9"', 'allowed: "SAL1", "SAL2" or "SAL3"'),
        ("[heartbeat]\ninterval_ms = true", "interval_ms = true: allowed: a whole number from 10"),
        ("[heartbeat]\ninterval_ms = 9", "interval_ms = 9: allowed: a whole number from 10"),
        ("[heartbeat]\ninterval_ms = 1.5", "interval_ms = 1.5: allowed: a whole number from 10"),
        (
            '[heartbeat]\ninterval_ms = 1000\nservice_level = "SAL1"',
            "[heartbeat] interval_ms = 1000: allowed without service_level only",
        ),
        ('[heartbeat]\ncorrective_action = "nuke"', 'allowed: "none", "log", "reboot" or "stop"'),
        ('[heartbeat]\nname = ""', "allowed: a text of 1 to 64 characters"),
        ('[[health_check]]\ncommand = ["/x"]', "[[health_check]] 1: name is missing"),
        (
            '[[health_check]]\nname = "a"',
            '[[health_check]] 1 name = "a": exactly one of command, systemd_unit and',
        ),
        (
            '[[health_check]]\nname = "a"\ncommand = ["/x"]\nsystemd_unit = "b"',
            "exactly one of command, systemd_unit and unhealthy_file",
        ),
        ('[[health_check]]\nname = "a"\ncommand = ["x"]', COMMANDS),
        ('[[health_check]]\nname = "a"\ncommand = []', COMMANDS),
        ('[[health_check]]\nname = "a"\ncommand = "/x"', COMMANDS),
        ('[[health_check]]\nname = "a"\ncommand = ["/x", 1]', COMMANDS),
        ('[[health_check]]\nname = "a"\ncommand = ["/x"]\ninterval_s = nan', "interval_s = nan"),
        ('[[health_check]]\nname = "a"\ncommand = ["/x"]\ntimeout_s = inf', "timeout_s = inf"),
        ('[[health_check]]\nname = "a"\ncommand = ["/x"]\ntimeout_s = 0', "from 0.1 to 86400"),
        ('[[health_check]]\nname = "a"\nsystemd_unit = "--all"', "the name of a unit"),
        ('[[health_check]]\nname = "a"\nunhealthy_file = "x"', "allowed: an absolute path"),
        ('[health_check]\nname = "a"', "allowed: sections, each [[health_check]]"),
        (
            '[[health_check]]\nname = "a"\ncommand = ["/x"]\n' * 2,
            '[[health_check]] 2 name = "a": another check has this name',
        ),
        ('[applications]\nsocket = "x"', "an absolute path of at most 107 bytes"),
        (f'[applications]\nsocket = "/{"x" * 107}"', "an absolute path of at most 107 bytes"),
        ("zzz", "not TOML: "),
    ],
)
def test_a_wrong_setting_is_one_line_that_says_what_is_allowed(load, tmp_path, text, complaint):
    with pytest.raises(SettingsError) as refused:
        load(text)
    message = str(refused.value)
    assert message.startswith(f"{tmp_path}/guest.toml: ")
    assert complaint in message
    assert "\n" not in message
    assert refused.value.exit_status == 2


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "guest.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="not TOML"):
        settings.load(str(tmp_path / "guest.toml"))


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="Is a directory"):
        settings.load(str(tmp_path))
