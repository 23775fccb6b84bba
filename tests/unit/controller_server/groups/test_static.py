"""Groups from a file, and their members as agents see them."""

import asyncio
import os

import pytest

from reachthru.controller_server.groups import static
from reachthru.controller_server.groups.census import Census
from reachthru.controller_server.groups.static import (
    StaticDirectory,
    StaticFileError,
    parse_groups,
)
from reachthru.protocol.agent_bus import AgentReport, FaultChange, InstanceReport
from reachthru.protocol.faults import FaultKind, FaultStatus, Severity


def report(host, *uuids, state="running", full=True, gone=()):
    return AgentReport(
        host=host,
        agent_version="1",
        sent_at="2026-01-01T00:00:00.000000+00:00",
        lateness_ms=0.0,
        guests=len(uuids),
        full=full,
        instances=[
            InstanceReport(uuid=uuid, name=f"name-{uuid}", state=state, registered=True)
            for uuid in uuids
        ],
        gone=list(gone),
    )


def fault(uuid, status="raised", fault_id="f", kind="heartbeat_lost"):
    return FaultChange(
        fault_id=fault_id,
        seq=1,
        status=FaultStatus(status),
        kind=FaultKind(kind),
        severity=Severity.CRITICAL,
        instance_uuid=uuid,
        instance_name=uuid,
        host="a",
        raised_at="2026-01-01T00:00:00.000000+00:00",
    )


class Setup:
    def __init__(self, folder):
        self.file = folder / "groups.yaml"
        self.census = Census()
        self.directory = StaticDirectory(self.file, self.census)
        self.changes = []
        self.directory.on_change = self.changes.append

    async def write(self, text):
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.rename(self.file)
        await self.directory.refresh()

    def told(self):
        return [(change.member.uuid, change.member.state) for change in self.changes]


@pytest.fixture
def setup(tmp_path):
    return Setup(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[a, b]", ["group id"]),
        ("g: x", ["group g", "list"]),
        ("g: [1]", ["group g", "uuids"]),
        ("g: [a]\nh: [a]", ["instance a", "g", "h"]),
        ("g: [a", ["not YAML"]),
        ("g: !!python/object:os.system []", ["not YAML"]),
    ],
)
def test_a_file_that_is_wrong_says_how(tmp_path, text, words):
    with pytest.raises(StaticFileError) as refusal:
        parse_groups(tmp_path / "g.yaml", text)
    line = str(refusal.value)
    assert "g.yaml" in line and "\n" not in line
    assert all(word in line for word in words)


def test_a_member_named_twice_is_one(tmp_path):
    assert parse_groups(tmp_path, "7: [a, a, b]\nempty: []\n") == {"7": ["a", "b"], "empty": []}
    assert parse_groups(tmp_path, "") == {}


async def test_the_file_may_come_late_change_and_be_broken_for_a_while(setup, caplog):
    await setup.directory.refresh()
    assert setup.directory.stale and not setup.directory.groups()
    await setup.write("g: [x]")
    assert setup.directory.group_of("x").id == "g"
    await setup.write("g: [x")
    await setup.directory.refresh()
    assert setup.directory.stale
    assert setup.directory.group_of("x").id == "g"
    await setup.write("h: [y]")
    assert not setup.directory.stale
    assert setup.directory.group("g") is None and setup.directory.group_of("x") is None
    assert setup.directory.group_of("y").id == "h"
    assert len([line for line in caplog.messages if "groups.yaml" in line and "YAML:" in line]) == 1


async def test_a_file_is_read_when_it_has_changed_only(setup, monkeypatch):
    await setup.write("g: [x]")
    monkeypatch.setattr(static, "parse_groups", lambda *_: pytest.fail("read again"))
    await setup.directory.refresh()
    os.utime(setup.file, ns=(1, 1))
    with pytest.raises(pytest.fail.Exception):
        await setup.directory.refresh()


async def test_members_are_where_and_how_agents_say(setup):
    await setup.write("g: [x, y, z]")
    setup.census.take_report(report("a", "x"))
    setup.census.take_report(report("b", "y", state="paused_by_user"))
    members = setup.directory.group("g").members
    assert [(m.uuid, m.name, m.host, m.state) for m in members] == [
        ("x", "name-x", "a", "active"),
        ("y", "name-y", "b", "paused"),
        ("z", "z", None, "stopped"),
    ]
    assert members[0].status["host"] == "a"


async def test_a_death_is_told_at_once_and_a_recovery_when_it_lasts(setup, monkeypatch):
    monkeypatch.setattr(static, "RECOVERY_S", 0.05)
    await setup.write("g: [x]")
    setup.census.take_report(report("a", "x"))
    setup.changes.clear()
    setup.census.take_faults([fault("x")])
    assert setup.told() == [("x", "error")]
    assert setup.changes[0].priority == "ERROR"
    assert setup.changes[0].member.status["state_description"] == "heartbeat_lost"
    setup.census.take_faults([fault("x", "cleared")])
    setup.census.take_faults([fault("x", fault_id="f2")])
    await asyncio.sleep(0.1)
    assert setup.told() == [("x", "error")]
    setup.census.take_faults([fault("x", "cleared", "f2")])
    await asyncio.sleep(0.1)
    assert setup.told() == [("x", "error"), ("x", "active")]


async def test_what_died_and_is_removed_never_seems_well(setup, monkeypatch):
    monkeypatch.setattr(static, "RECOVERY_S", 0.05)
    await setup.write("g: [x]")
    setup.census.take_report(report("a", "x"))
    setup.census.take_faults([fault("x")])
    setup.changes.clear()
    setup.census.take_faults([fault("x", "cleared")])
    setup.census.take_report(report("a", full=False, gone=["x"]))
    await asyncio.sleep(0.1)
    assert setup.told() == [("x", "stopped")]


async def test_nothing_new_is_no_news(setup):
    setup.census.take_report(report("a", "x"))
    await setup.write("g: [x]")
    for _ in range(3):
        setup.census.take_report(report("a", "x"))
        setup.census.take_report(report("a", "outsider", full=False))
    assert setup.told() == []


async def test_while_it_moves_a_member_is_where_it_runs(setup):
    census = setup.census
    census.take_report(report("a", "x"))
    census.take_report(report("b", "x", state="migrating"))
    assert census.find("x").host == "a"
    census.take_report(report("b", "x"))
    assert census.find("x").host == "b"
    census.take_report(report("a"))
    assert census.find("x").host == "b"
    assert not census.carries("a", "x") and census.carries("b", "x")


async def test_a_member_whose_host_is_silent_is_where_another_host_says(setup):
    census = setup.census
    census.take_report(report("a", "x"))
    census.take_report(report("b", "x"))
    census.take_offline("b")
    assert census.find("x").host == "a"
    assert not census.is_online("b") and census.is_online("a")
