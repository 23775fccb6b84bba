import os
import re

from reachthru.guest_daemon.log import Log, PeerLog


def test_people_get_the_time_in_utc(tmp_path):
    with (tmp_path / "log").open("wb") as file:
        Log(file.fileno()).warning("hello")
    line = (tmp_path / "log").read_text()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00 warning: hello\n", line)


def test_nobody_forges_a_line_or_drives_a_terminal(tmp_path):
    with (tmp_path / "log").open("wb") as file:
        Log(file.fileno()).warning("host: a\nerror: b\x1b[2Jc\x9b31md\u2028e\u202ef Zoë 日本")
    text = (tmp_path / "log").read_text()
    assert text.endswith("host: a error: b [2Jc 31md e f Zoë 日本\n")
    assert len(text.splitlines()) == 1


def test_journald_gets_the_level(tmp_path, monkeypatch):
    with (tmp_path / "log").open("wb") as file:
        status = os.fstat(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        log = Log(file.fileno())
        log.error("bad")
        log.info("good")
    assert (tmp_path / "log").read_text() == "<3>bad\n<6>good\n"


def test_a_reader_that_hangs_stops_nothing_and_is_told_what_it_missed():
    read_fd, write_fd = os.pipe()
    log = Log(write_fd)
    for _ in range(2000):
        log.info("x" * 500)
    os.read(read_fd, 1 << 20)
    log.info("back")
    last = os.read(read_fd, 1 << 20).decode().splitlines()[-1]
    assert re.search(r"back \(\d+ lines before this one were left out\)$", last)
    os.close(read_fd)
    log.info("to nobody")  # and neither does one that is gone
    os.close(write_fd)
    log.info("to nothing")


def test_what_a_peer_makes_us_say_is_bounded_and_counted(tmp_path):
    with (tmp_path / "log").open("wb") as file:
        log = PeerLog(Log(file.fileno()))
        for _ in range(100):
            log.warning("noise", now=1.0)
        log.warning("noise", now=60.0)
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 21
    assert lines[-1].endswith("noise (80 more were not logged)")
