"""No guest can forge a line of the log, drive a terminal, or flood it with one message."""

import json
import logging
import sys

import pytest

from reachthru.telemetry import logs
from reachthru.telemetry.logs import MESSAGE_LIMIT_CHARS, PlainFormatter, about, printable

FORGED = "well\n2026-01-01 00:00:00,000 ERROR reachthru: the database is lost"


def record(text="%s", *arguments, level=logging.WARNING, exc_info=None, **extra):
    made = logging.LogRecord("reachthru.test", level, "x.py", 1, text, arguments, exc_info)
    made.__dict__.update(extra)
    return made


def raised(text):
    try:
        raise ValueError(text)
    except ValueError:
        return sys.exc_info()


@pytest.fixture
def as_json():
    return logs._json_formatter()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (FORGED, FORGED.replace("\n", "\\n")),
        ("\x1b[2J\x1b[31mred", "\\x1b[2J\\x1b[31mred"),
        ("\x9b31m", "\\x9b31m"),  # CSI in one character
        ("a\rb\x00c\x7f", "a\\rb\\x00c\\x7f"),
        ("a\u2028b", "a\\u2028b"),
        ("\u202egnp.exe", "\\u202egnp.exe"),  # turns the line around
        ("Zoë ☂ 日本", "Zoë ☂ 日本"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(said, shown):
    assert printable(said) == shown
    assert PlainFormatter().format(record("guest: %s", said)).endswith(f"guest: {shown}")


def test_a_message_is_one_line_of_bounded_length():
    line = PlainFormatter().format(record("%s", "x\n" * 100_000))
    assert len(line.splitlines()) == 1
    assert len(line) < 2 * MESSAGE_LIMIT_CHARS + 200
    assert line.endswith("... (200000 characters)")


def test_no_line_of_a_traceback_looks_like_a_record():
    text = PlainFormatter().format(record("it failed", exc_info=raised(FORGED)))
    first, *others = text.splitlines()
    assert first.endswith("it failed")
    assert others
    assert all(line.startswith("    ") for line in others)
    assert any("the database is lost" in line for line in others)


def test_passwords_in_urls_are_left_out(as_json):
    said = record("connecting to %s", "amqp://me:secret@rabbit/", exc_info=raised("x://a:secret@b"))
    for formatter in (PlainFormatter(), as_json):
        line = formatter.format(said)
        assert "secret" not in line
        assert "***@rabbit" in line


def test_journald_is_told_the_level_of_every_line():
    formatter = PlainFormatter(journald=True)
    for level, prefix in (("ERROR", "<3>"), ("WARNING", "<4>"), ("INFO", "<6>"), ("DEBUG", "<7>")):
        line = formatter.format(record("it is so", level=getattr(logging, level)))
        assert line == f"{prefix}{level} reachthru.test: it is so"
    text = formatter.format(record("it failed", level=logging.ERROR, exc_info=raised(FORGED)))
    assert all(line.startswith("<3>") for line in text.splitlines())


def test_json_has_oslo_logs_fields_and_the_faults_id(as_json):
    line = as_json.format(record("fault %s: %s", "f-1", FORGED, **about("f-1")))
    assert len(line.splitlines()) == 1
    said = json.loads(line)
    assert said["message"] == f"fault f-1: {FORGED}".replace("\n", "\\n")
    assert said["levelname"] == "WARNING"
    assert said["extra"] == {"fault_id": "f-1"}


def test_json_bounds_what_it_repeats(as_json):
    line = as_json.format(record("%s", "x" * 1_000_000))
    assert len(line) < 3 * MESSAGE_LIMIT_CHARS


def test_json_keeps_tracebacks_in_their_field(as_json):
    line = as_json.format(record("it failed", exc_info=raised(FORGED)))
    assert len(line.splitlines()) == 1
    assert "ValueError" in json.loads(line)["traceback"]
