"""reachthru-controller's exit codes and one-line errors; its life is in tests/integration."""

import pytest

from reachthru.controller_server import cli


def complaint(capsys):
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[sinks]\nenabled = pager", "log, webhook"),
        ("[bus]\nurl = carrier-pigeon://x", "carrier-pigeon"),
        ("[bus]\nurl = mqtt://me:secret@broker/topic", "mqtt://broker/topic"),
        ("[apii]\nlisten = x", "no such section"),
    ],
)
def test_wrong_settings_are_one_line_and_exit_2(tmp_path, capsys, text, words):
    path = tmp_path / "controller.conf"
    path.write_text(text)
    assert cli.main(["--config-file", str(path)]) == 2
    line = complaint(capsys)
    assert "controller.conf" in line
    assert words in line
    assert "secret" not in line


def test_settings_that_cant_be_read_are_exit_2(tmp_path, capsys):
    assert cli.main(["--config-file", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in complaint(capsys)


@pytest.mark.parametrize(("words", "code"), [(["--version"], 0), (["--help"], 0), (["--no"], 2)])
def test_usage(capsys, words, code):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == code
