"""What a VM's doctor makes of its port and of what its daemon says."""

import json
import stat

import pytest

from reachthru import __version__
from reachthru.findings import Mark
from reachthru.guest_daemon.cli import main
from reachthru.guest_daemon.doctor import PortFile, User, check_daemon, check_port, may_use

ROOT = User(0, frozenset({0}))
SOMEBODY = User(1000, frozenset({1000, 50}))
FINE = {
    "version": __version__,
    "port_state": "host connected",
    "registered": True,
    "last_challenge_s": 0.1,
    "answered": 7,
    "healthy": True,
    "log_msg": "",
    "peer_errors": {},
}


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "allowed"),
    [
        (0o600, 0, 0, False),
        (0o660, 0, 50, True),
        (0o640, 0, 50, False),
        (0o606, 0, 0, True),
        (0o066, 1000, 50, False),  # the owner's bits alone count for the owner
        (0o600, 1000, 0, True),
    ],
)
def test_who_may_open_a_port(mode, uid, gid, allowed):
    assert may_use(PortFile(stat.S_IFCHR | mode, uid, gid), SOMEBODY) is allowed
    assert may_use(PortFile(stat.S_IFCHR | mode, uid, gid), ROOT)


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (PortFile(None, others=("org.qemu.guest_agent.0",)), "org.qemu.guest_agent.0"),
        (PortFile(stat.S_IFREG | 0o666), "not a character device"),
        (PortFile(stat.S_IFCHR | 0o600, 0, 0), "may not be read and written"),
    ],
)
def test_a_port_that_can_not_be_used(found, word):
    (one,) = check_port("virtio", "/dev/virtio-ports/x", found, SOMEBODY)
    assert one.mark is Mark.WRONG
    assert word in one.text
    assert one.remedy


@pytest.mark.parametrize(
    ("more", "wrong", "warnings"),
    [
        ({}, [], []),
        ({"port_state": "not open: Device busy"}, ["attachment"], []),
        ({"port_state": "open, host not connected"}, ["attachment"], []),
        ({"registered": False, "last_challenge_s": None}, ["host"], []),
        ({"last_challenge_s": 60.0}, ["host"], []),
        ({"healthy": False, "log_msg": "disk"}, [], ["health"]),
        ({"peer_errors": {"not_json": 2}}, [], ["messages"]),
        ({"version": "0.0.9"}, [], ["daemon"]),
    ],
)
def test_what_the_daemon_says(more, wrong, warnings):
    found = list(check_daemon(FINE | more, 1000))
    assert [one.check for one in found if one.mark is Mark.WRONG] == wrong
    assert [one.check for one in found if one.mark is Mark.WARNING] == warnings


def test_wrong_settings_are_a_finding(tmp_path, capsys):
    path = tmp_path / "guest.toml"
    path.write_text("[heartbeat]\ninterval_ms = 1\n")
    assert main(["doctor", "--config", str(path), "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)["findings"]
    assert (found["mark"], found["check"]) == ("wrong", "settings")
    assert "interval_ms" in found["text"]
