"""An INI file read strictly: every mistake is one line that says where and what is allowed."""

from pathlib import Path

import pytest
from oslo_config import cfg

from reachthru import service

OPTIONS = {
    "DEFAULT": [cfg.StrOpt("host", default="here")],
    "heartbeat": [
        cfg.IntOpt("min_interval_ms", default=100, min=10, max=60000),
        cfg.FloatOpt("limit_s", default=0.0, min=0.0),
        cfg.BoolOpt("loud", default=False),
    ],
    "discovery": [cfg.StrOpt("driver", default="libvirt", choices=["libvirt", "directory"])],
}


def load(folder: Path, text: str) -> cfg.ConfigOpts:
    path = folder / "host.conf"
    path.write_text(text)
    return service.load(path, OPTIONS, foreign_sections=["keystone"])


def test_what_is_given_is_read_and_the_rest_has_its_default(tmp_path: Path) -> None:
    conf = load(tmp_path, "[heartbeat]\nmin_interval_ms = 200\n[keystone]\nanything = goes\n")
    assert (conf.heartbeat.min_interval_ms, conf.host) == (200, "here")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[DEFAULT]\nhots = x\n", "[DEFAULT] hots = x: no such key; did you mean host?"),
        ("[DEFAULT]\nzzz = x\n", "[DEFAULT] zzz = x: no such key; allowed: host"),
        ("[hartbeat]\na = 1\n", "[hartbeat] a = 1: no such section; [DEFAULT], [heartbeat], "),
        (
            "[heartbeat]\nmin_interval_ms = soon\n",
            "[heartbeat] min_interval_ms = soon: allowed: a whole number from 10 to 60000",
        ),
        ("[heartbeat]\nmin_interval_ms = 9\n", "= 9: allowed: a whole number from 10 to 60000"),
        ("[heartbeat]\nlimit_s = -1\n", "[heartbeat] limit_s = -1: allowed: a number from 0"),
        ("[heartbeat]\nloud = maybe\n", "[heartbeat] loud = maybe: allowed: true or false"),
        (
            "[discovery]\ndriver = magic\n",
            "[discovery] driver = magic: allowed: libvirt, directory",
        ),
        ("no section\n", "line 1: No ':'"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_is_allowed(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(service.SettingsError) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/host.conf: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(service.SettingsError, match="No such file or directory"):
        service.load(tmp_path / "none.conf", OPTIONS)


@pytest.mark.parametrize(
    "text",
    [
        "[heartbeat]\npasword = hunter2\n",
        "[databse]\nurl = x://u:hunter2@h\n",
        "[DEFAULT]\nhost\npassword hunter2\n",
        "[DEFAULT]\n  hunter2\n",
        "hunter2\n",
    ],
)
def test_a_mistake_beside_a_secret_does_not_show_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(service.SettingsError) as caught:
        load(tmp_path, text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "mode", "warned"),
    [
        ("[DEFAULT]\nhost = x://u:hunter2@h\n", 0o644, True),
        ("[DEFAULT]\nhost = x://u:hunter2@h\n", 0o640, False),
        ("[DEFAULT]\nhost = x://u@h\n", 0o644, False),
        ("[DEFAULT]\nhost = x://h/d?user=u&password=hunter2\n", 0o644, True),
        ("[DEFAULT]\ntoken = hunter2\n", 0o644, True),
    ],
)
def test_settings_with_secrets_that_everybody_may_read_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, mode: int, warned: bool
) -> None:
    path = tmp_path / "host.conf"
    path.write_text(text)
    path.chmod(mode)
    service.load(path, {"DEFAULT": [cfg.StrOpt("host"), cfg.StrOpt("token", secret=True)]})
    assert ("chmod 640" in caplog.text) is warned
    assert "hunter2" not in caplog.text
