"""What the doctor makes of what it has seen."""

from datetime import UTC, datetime, timedelta

import pytest

from reachthru.doctor import host, judgement, machine, run
from reachthru.doctor.run import Check
from reachthru.findings import Finding, Mark, as_json, exit_status, lines, ok, warning, wrong
from reachthru.host_agent.discovery.libvirt.domain_xml import DomainFacts

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOST = {"host": "c", "state": "online", "agent_version": "0.1.3", "lateness_ms": 1.0}


@pytest.mark.parametrize(
    ("ahead_s", "mark", "word"),
    [
        (0.2, Mark.OK, "agree"),
        (-0.9, Mark.OK, "agree"),
        (3.0, Mark.WARNING, "3.0 s ahead"),
        (-3600.0, Mark.WRONG, "1.0 h behind"),
    ],
)
def test_a_clock(ahead_s, mark, word):
    found = judgement.clock("clock", "its clock", ahead_s)
    assert found.mark is mark
    assert word in found.text


@pytest.mark.parametrize(("days", "mark"), [(-1, Mark.WRONG), (3, Mark.WARNING), (100, Mark.OK)])
def test_a_certificate(days, mark):
    assert judgement.certificate("TLS", "our", NOW + timedelta(days=days), NOW).mark is mark


@pytest.mark.parametrize(
    ("theirs", "ours", "mark"),
    [
        ("0.1.0", "0.1.7", Mark.OK),
        ("0.2.0", "0.1.0", Mark.OK),
        ("0.1.0", "0.3.0", Mark.WRONG),
        ("1.1.0", "0.1.0", Mark.WRONG),
        ("x", "0.1.0", Mark.WARNING),
    ],
)
def test_releases_one_minor_version_apart_fit(theirs, ours, mark):
    assert judgement.release("host", "agent", theirs, ours).mark is mark


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, []),
        ({"state": "offline"}, ["offline"]),
        ({"lateness_ms": 900.0}, ["900 ms late"]),
        ({"outbox_durable": False}, ["outbox can't be written"]),
        ({"clock_ms": 120_000.0}, ["2.0 min ahead"]),
        ({"agent_version": "3.0.0"}, ["only one minor version"]),
    ],
)
def test_a_host_as_a_controller_knows_it(more, words):
    bad = [one.text for one in judgement.host(HOST | more, "0.1.0") if one.mark is not Mark.OK]
    assert len(bad) == len(words)
    assert all(word in text for word, text in zip(words, bad, strict=True))


@pytest.mark.parametrize(
    ("changes", "oldest_s", "mark"), [(0, 0.0, "ok"), (3, 5.0, "warning"), (3, 500.0, "wrong")]
)
def test_a_sinks_backlog(changes, oldest_s, mark):
    found = judgement.backlog("webhook", changes, oldest_s, "refused")
    assert found.mark == mark
    assert ("refused" in found.text) is bool(changes)


def test_domains_that_ask_and_have_no_port_are_named():
    domains = [DomainFacts(f"vm-{n}", lacks_port=True) for n in range(5)]
    domains[0].wrong_specs.append("hw:x = maybe")
    found = list(host.judge_domains(domains))
    assert [one.mark for one in found] == ["ok", "warning", "warning"]
    assert "vm-0, vm-1, vm-2 and 2 more" in found[1].text
    assert "hw:x = maybe" in found[2].text


@pytest.mark.parametrize(
    ("count", "oldest_s", "mark"), [(0, 0.0, "ok"), (2, 1.0, "ok"), (2, 99.0, "wrong")]
)
def test_what_waits_in_an_outbox(count, oldest_s, mark):
    assert [one.mark for one in host.judge_waiting(count, oldest_s)] == [mark]


def test_sockets_of_proc():
    tcp = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid t inode\n"
        "   0: 0100007F:224C 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 111 1\n"
        "   1: 0100007F:224C 0100007F:9999 01 00000000:00000000 00:00000000 00000000 0 0 222 1\n"
    )
    assert machine.listening_inodes(tcp, 8780) == {"111"}
    assert machine.listening_inodes(tcp, 8781) == set()
    unix = (
        "Num       RefCount Protocol Flags    Type St Inode Path\n"
        "0000: 00000002 00000000 00010000 0001 01 11 /run/a b.sock\n"
        "0000: 00000003 00000000 00000000 0001 03 12 /run/c.sock\n"
        "0000: 00000003 00000000 00000000 0001 03 13\n"
    )
    assert machine.connected(unix, "/run/c.sock")
    assert not machine.connected(unix, "/run/a b.sock")


def test_a_check_that_fails_or_hangs_is_a_finding(monkeypatch):
    import threading

    monkeypatch.setattr(run, "LIMIT_S", 0.1)

    def fail(_context):
        yield ok("a", "fine")
        raise RuntimeError("of its own")

    def hang(_context):
        threading.Event().wait(60)
        return []

    found = run.run_checks([Check("a", fail), Check("b", hang)], None)
    assert [(one.mark, one.check) for one in found] == [("ok", "a"), ("wrong", "a"), ("wrong", "b")]
    assert "of its own" in found[1].text
    assert "hangs" in found[2].text


def test_lines_are_lined_up_and_move_no_cursor():
    found = [ok("a", "x\x1b[2Jy"), wrong("longer", "bad", "mend it"), warning("w", "t", "r")]
    assert lines(found) == [
        "ok      a       x [2Jy",
        "wrong   longer  bad; mend it",
        "warning w       t; r",
    ]
    assert exit_status(found) == 1
    assert exit_status([found[0], found[2]]) == 0
    assert as_json(found[:1]).startswith('{"findings": [{"mark": "ok"')
    assert isinstance(found[0], Finding)
