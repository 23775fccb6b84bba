"""Secrets from files, and URLs that can be shown."""

import os
import time

import pytest

from reachthru import secret_files, service
from reachthru.secret_files import (
    SecretFile,
    SecretFileError,
    has_password,
    origin,
    read_secret,
    read_secrets,
    shown_url,
    with_password,
)
from reachthru.service import SettingsError


@pytest.fixture
def write(tmp_path):
    """write(bytes or text, mode=0o600) -> Path"""

    def write(content, mode=0o600):
        path = tmp_path / "secret"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    return write


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
def test_a_secret_is_the_files_only_line(write, end, mode):
    assert read_secret(write(f"# hunter 2 {end}", mode)) == "# hunter 2 "


def test_tokens_are_a_line_each_between_comments(write):
    text = "# of Prometheus\r\n\n  hunter2  \nhunter3"
    assert read_secrets(write(text)) == ["hunter2", "hunter3"]


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        ("hunter2", 0o644, "open to every user; chmod"),
        ("hunter2", 0o602, "open to every user; chmod"),
        ("", 0o600, "holds no secret"),
        ("\n", 0o600, "holds no secret"),
        ("hunter2\nhunter3", 0o600, "holds 2 lines"),
        (b"hunter2\xff", 0o600, "is not UTF-8"),
        ("hunter2" * 10_000, 0o600, "are no secret"),
    ],
)
def test_a_file_that_cant_be_used_says_why_and_not_what_it_holds(write, content, mode, says):
    path = write(content, mode)
    with pytest.raises(SecretFileError, match=says) as refusal:
        read_secret(path)
    assert str(refusal.value).startswith(str(path))
    assert "hunter2" not in repr(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SecretFileError, match="nowhere: No such file"):
        read_secret(tmp_path / "nowhere")


def test_a_change_counts_and_what_cant_be_used_any_more_is_no_secret(write, monkeypatch):
    monkeypatch.setattr(secret_files, "LOOK_INTERVAL_S", 0.0)
    file = SecretFile(write("one"))
    assert file.lines() == ["one"]
    write("two\nthree")
    assert file.lines() == ["two", "three"]
    file.path.unlink()
    with pytest.raises(SecretFileError, match="No such file"):
        file.lines()
    write("four", mode=0o666)
    with pytest.raises(SecretFileError, match="open to every user"):
        file.lines()
    file.path.chmod(0o600)
    assert file.lines() == ["four"]


def test_a_file_is_not_looked_at_for_each_call(write, monkeypatch):
    file = SecretFile(write("one"))
    looks = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda *words, **more: looks.append(1) or stat(*words, **more))
    started = time.monotonic()
    for _ in range(1000):
        file.lines()
    assert len(looks) <= 2 + (time.monotonic() - started)


@pytest.mark.parametrize(
    ("url", "shown", "where"),
    [
        ("https://u:hunter2@h:1/path?token=hunter2#x", "https://h:1/path", "https://h:1"),
        ("https://h/services/hunter3", "https://h/services/hunter3", "https://h"),
        ("rabbit://u:hunter2@a:1,u:hunter2@b:2/", "rabbit://b:2/", "rabbit://b:2"),
        ("mqtt://u:hun?ter#2@h", "mqtt://h", "mqtt://h"),
        ("u:hunter2@h", "h", "h"),
        ("sqlite:////var/x.sqlite", "sqlite:////var/x.sqlite", "sqlite://"),
        ("postgresql+psycopg://u@h/d?password=hunter2", "postgresql+psycopg://h/d", None),
    ],
)
def test_a_url_is_shown_without_secrets(url, shown, where):
    assert shown_url(url) == shown
    if where is not None:
        assert origin(url) == where


@pytest.mark.parametrize(
    ("url", "made"),
    [
        ("postgresql+psycopg://u@h:5/d?a=b", "postgresql+psycopg://u:p%40%2F%3A@h:5/d?a=b"),
        ("rabbit://u@h", "rabbit://u:p%40%2F%3A@h"),
        ("rabbit://u@a:1,v@b:2/x", "rabbit://u:p%40%2F%3A@a:1,v:p%40%2F%3A@b:2/x"),
        ("postgresql://h/d", "postgresql://:p%40%2F%3A@h/d"),
    ],
)
def test_a_password_is_put_into_a_url(url, made):
    assert with_password(url, "p@/:") == made
    assert has_password(made)
    assert not has_password(url)


def test_settings_say_whose_file_is_wrong(tmp_path):
    with pytest.raises(SettingsError) as refusal:
        service.secret(tmp_path / "x.conf", "database", "password_file", str(tmp_path / "nowhere"))
    assert "x.conf: [database] password_file: " in str(refusal.value)
