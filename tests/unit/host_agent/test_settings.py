"""Settings are read strictly: what is wrong is one line that says where and what is allowed."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from reachthru.bus import BusDoor
from reachthru.host_agent import cli, settings
from reachthru.protocol.group_port import GroupPolicy
from reachthru.service import SettingsError


def write(folder: Path, text: str) -> Path:
    path = folder / "host.conf"
    path.write_text(text)
    return path


def test_an_empty_file_gives_the_documented_defaults(tmp_path: Path) -> None:
    loaded = settings.load(write(tmp_path, ""))
    assert loaded == settings.HostSettings(
        host=socket.gethostname(),
        driver="libvirt",
        connection_uri="qemu:///system",
        hotplug=False,
        directory=Path("/run/ports"),
        min_interval_ms=100,
        failure_threshold=1,
        registration_limit_s=0.0,
        bus_url="mqtt://127.0.0.1:1883",
        bus_door=BusDoor(),
        outbox_path=Path("/var/lib/reachthru/outbox.sqlite"),
        groups=GroupPolicy(),
    )


def test_every_documented_key_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "[DEFAULT]\nhost = compute-7\n[discovery]\ndriver = directory\n"
        "[libvirt]\nconnection_uri = qemu+tls://x/system\nhotplug = true\n"
        "[directory]\npath = /srv/ports\n"
        "[heartbeat]\nmin_interval_ms = 250\nfailure_threshold = 3\nregistration_limit_s = 120\n"
        "[bus]\nurl = mqtts://broker:1884\nca_file = /ca\ncert_file = /cert\nkey_file = /key\n"
        "username = me\npassword_file = /password\n[outbox]\npath = /srv/outbox.sqlite\n",
    )
    loaded = settings.load(path)
    assert (loaded.host, loaded.driver, loaded.bus_url) == (
        "compute-7",
        "directory",
        "mqtts://broker:1884",
    )
    assert loaded.hotplug
    assert loaded.bus_door == BusDoor(
        ca_file=Path("/ca"),
        cert_file=Path("/cert"),
        key_file=Path("/key"),
        username="me",
        password_file=Path("/password"),
    )
    assert (loaded.min_interval_ms, loaded.failure_threshold) == (250, 3)
    assert loaded.registration_limit_s == 120.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[discovery]\ndriver = vmware\n", ["[discovery] driver = vmware", "libvirt"]),
        ("[heartbeat]\nmin_interval_ms = soon\n", ["[heartbeat] min_interval_ms = soon"]),
        ("[heartbeat]\nfailure_threshold = 0\n", ["[heartbeat] failure_threshold = 0", "1"]),
        ("[heartbeat]\nmin_interval = 100\n", ["min_interval = 100", "min_interval_ms"]),
        ("[hartbeat]\nx = 1\n", ["[hartbeat]", "[heartbeat]"]),
    ],
)
def test_a_wrong_setting_is_one_line_with_file_key_value_and_what_is_allowed(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        settings.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in [str(path), *words]), message


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reachthru.host_agent.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[discovery]\ndriver = none\n", ["[discovery] driver"]),
        (
            "[bus]\nurl = mqtts://x\nca_file = /nowhere\n[discovery]\ndriver = directory\n",
            ["[bus] ca_file = /nowhere"],
        ),
        ("[bus]\nurl = http://x\n[discovery]\ndriver = directory\n", ["[bus] url", "mqtt"]),
    ],
)
def test_wrong_settings_exit_with_2_and_one_line(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    result = run("--config-file", str(write(tmp_path, text)))
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert all(word in result.stderr for word in words)


def test_a_missing_file_exits_with_2_and_names_it(tmp_path: Path) -> None:
    result = run("--config-file", str(tmp_path / "nowhere.conf"))
    assert result.returncode == 2
    assert "nowhere.conf" in result.stderr


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--help", "--version"):
        with pytest.raises(SystemExit) as caught:
            cli.main([flag])
        assert caught.value.code == 0
        assert "reachthru-host" in capsys.readouterr().out
