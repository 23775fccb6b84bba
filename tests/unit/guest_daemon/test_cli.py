"""The command line as people use it."""

import pytest

from reachthru import __version__
from reachthru.guest_daemon.cli import main


@pytest.mark.parametrize("argv", [["--help"], ["run", "--help"], ["status", "--help"]])
def test_help_is_fine(argv, capsys):
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 0
    assert "usage: reachthru-guest" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"reachthru-guest {__version__}\n"


@pytest.mark.parametrize(
    "argv",
    [
        *([], ["dance"], ["run", "--x"], ["run", "--config"], ["run", "--json"]),
        *(["broadcast"], ["broadcast", "a", "b"], ["members", "x"]),
        *(["listen", "--count", "0"], ["listen", "--count", "x"], ["listen", "--timeout", "-1"]),
        *(["listen", "--timeout", "nan"], ["listen", "--timeout"]),
    ],
)
def test_wrong_usage_is_one_line_and_2(argv, capsys):
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("command", ["run", "status", "check"])
def test_wrong_settings_are_one_line_and_2(command, capsys, tmp_path):
    (tmp_path / "guest.toml").write_text("[channel]\nprot = 1\n")
    assert main([command, "--config", str(tmp_path / "guest.toml")]) == 2
    assert capsys.readouterr().err == (
        f"reachthru-guest: {tmp_path}/guest.toml: [channel] prot = 1: no such key; "
        "did you mean port?\n"
    )


def test_check_without_checks_and_daemon_is_healthy(capsys, tmp_path):
    (tmp_path / "guest.toml").write_text(f'[applications]\nsocket = "{tmp_path}/door"\n')
    assert main(["check", "--config", str(tmp_path / "guest.toml")]) == 0
    assert capsys.readouterr().out == "healthy\n"


def test_serial_without_pyserial_says_what_to_install(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "serial", None)
    monkeypatch.delitem(
        __import__("sys").modules, "reachthru.guest_daemon.transports.serial", raising=False
    )
    (tmp_path / "guest.toml").write_text('[channel]\nport = "serial:///dev/ttyS9"\n')
    assert main(["run", "--config", str(tmp_path / "guest.toml")]) == 1
    assert "needs pyserial: install reachthru[guest]" in capsys.readouterr().err
