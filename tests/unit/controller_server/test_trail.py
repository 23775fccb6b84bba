"""What the controller tells of a fault's way: to its log, and to a tracer where there is one."""

import logging
from datetime import UTC, datetime

import pytest

from reachthru.controller_server.store.changes import Arrived, Stored
from reachthru.controller_server.trail import Trail
from reachthru.protocol.agent_bus import FaultChange

AT = "2026-01-01T00:00:00.250000+00:00"


class Recorder:
    def __init__(self):
        self.changes, self.stages = [], []

    def change(self, fault_id, change, began_ns, ended_ns):
        self.changes.append((fault_id, change.status, began_ns, ended_ns))

    def stage(self, fault_id, change, stage):
        self.stages.append((fault_id, stage))

    def close(self):
        pass


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def trail(recorder):
    return Trail(recorder, "rabbits://broker/x", "postgresql+psycopg://me:secret@db/x")


def change(fault_id="f-1", kind="heartbeat_lost", status="raised"):
    return FaultChange(
        fault_id=fault_id,
        seq=1,
        status=status,
        kind=kind,
        severity="critical",
        instance_uuid="u-1",
        instance_name="db",
        host="compute-0",
        raised_at=AT,
    )


def convert(made):
    """As a decoder gives it: with enumerations."""
    from reachthru.protocol import agent_bus

    return agent_bus.decode_from_agent(agent_bus.encode(made))


def test_what_was_new_is_traced_from_its_arrival(trail, recorder):
    arrived = Arrived(convert(change()), datetime(2026, 1, 1, second=1, tzinfo=UTC))
    trail.stored(
        [arrived, Arrived(convert(change("f-2")), arrived.at)],
        [Stored(7, arrived.change, arrived.at)],
    )
    ((fault_id, stage),) = recorder.stages
    assert (fault_id, stage.name, stage.kind) == ("f-1", "process faults", "CONSUMER")
    assert stage.began_ns == 1_767_225_601_000_000_000
    assert stage.ended_ns > stage.began_ns
    assert stage.attributes["messaging.system"] == "rabbitmq"
    assert stage.attributes["db.system.name"] == "postgresql"
    assert "secret" not in str(stage.attributes)


def test_a_lost_host_has_its_change_from_here_and_an_instance_from_its_agent(trail, recorder):
    trail.judged([convert(change()), convert(change("f-2", kind="host_lost"))])
    assert recorder.changes == [("f-2", "raised", *([1_767_225_600_250_000_000] * 2))]


def test_stages_are_said_to_whoever_debugs_and_to_nobody_else(trail, caplog):
    for level, lines in ((logging.INFO, 0), (logging.DEBUG, 2)):
        caplog.clear()
        caplog.set_level(level)
        trail.received(convert(change()))
        item = Arrived(convert(change()), datetime.now(UTC))
        trail.stored([item], [Stored(1, item.change, item.at)])
        assert len(caplog.records) == lines
        assert all(record.extra == {"fault_id": "f-1"} for record in caplog.records)
        assert all("fault f-1: raised: " in record.message for record in caplog.records)
