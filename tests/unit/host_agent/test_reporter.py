"""What controllers are told of this host: all when asked, else what changed, and a sign of life."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from reachthru.bus.memory import MemoryAgentBus, broker
from reachthru.host_agent import reporter as reporter_module
from reachthru.host_agent.group_losses import GroupLosses
from reachthru.host_agent.lateness import AwakeTime
from reachthru.host_agent.outbox import Outbox
from reachthru.host_agent.reporter import Reporter
from reachthru.protocol.agent_bus import AgentMessage, AgentReport, InstanceReport


class Roster:
    """As much of a roster as a reporter sees."""

    def __init__(self) -> None:
        self.instances: dict[str, Any] = {}
        self.changed: set[str] = set()
        self.departed: set[str] = set()
        self.on_change = lambda: None

    def reports(self, uuids: Any) -> list[InstanceReport]:
        return [
            InstanceReport(uuid=uuid, name=uuid, state="running", registered=True)
            for uuid in uuids
            if uuid in self.instances
        ]

    def change(self, *uuids: str) -> None:
        for uuid in uuids:
            self.instances[uuid] = None
            self.changed.add(uuid)
        self.on_change()

    def depart(self, uuid: str) -> None:
        del self.instances[uuid]
        self.departed.add(uuid)
        self.on_change()


class Line(MemoryAgentBus):
    def __init__(self, name: str) -> None:
        super().__init__(f"memory://{name}", "compute-0")
        self.reports: list[AgentReport] = []

    async def send(self, message: AgentMessage) -> None:
        await super().send(message)
        if isinstance(message, AgentReport):
            self.reports.append(message)


class Desk:
    def __init__(self, name: str) -> None:
        self.roster, self.line, self.awake = Roster(), Line(name), AwakeTime()
        losses = GroupLosses(asyncio.get_running_loop())
        self.outbox = Outbox(None, asyncio.get_running_loop())  # type: ignore[arg-type]
        self.reporter = Reporter(
            *("compute-0", self.line, self.roster, self.awake),
            group_losses=losses,
            outbox=self.outbox,
        )

    async def report(self, number: int) -> AgentReport:
        async with asyncio.timeout(5):
            while len(self.line.reports) < number:
                await asyncio.sleep(0.002)
        return self.line.reports[number - 1]


@pytest.fixture
async def desk(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    monkeypatch.setattr(reporter_module, "COALESCE_S", 0.02)
    held = broker(request.node.name)
    desk = Desk(request.node.name)
    async with desk.line:
        running = asyncio.create_task(desk.reporter.run())
        yield desk
        running.cancel()
    assert held.up


async def test_the_first_report_is_full_and_later_ones_say_what_changed(desk: Desk) -> None:
    desk.roster.change("a", "b")
    first = await desk.report(1)
    assert first.full
    assert [one.uuid for one in first.instances] == ["a", "b"]
    desk.roster.change("c")
    desk.roster.change("d")
    second = await desk.report(2)
    assert not second.full
    assert {one.uuid for one in second.instances} == {"c", "d"}
    assert second.guests == 4


async def test_who_left_is_named_once(desk: Desk) -> None:
    desk.roster.change("a", "b")
    await desk.report(1)
    desk.roster.depart("a")
    assert (await desk.report(2)).gone == ["a"]
    desk.roster.change("b")
    assert (await desk.report(3)).gone == []


async def test_a_controller_that_asks_gets_everything(desk: Desk) -> None:
    desk.roster.change("a", "b")
    await desk.report(1)
    desk.reporter.ask_full()
    second = await desk.report(2)
    assert second.full
    assert len(second.instances) == 2


async def test_the_worst_lateness_of_the_period_is_told(desk: Desk) -> None:
    desk.awake.woke(1.0, 1.25)
    desk.roster.change("a")
    assert (await desk.report(1)).lateness_ms == pytest.approx(250)
    desk.roster.change("a")
    assert (await desk.report(2)).lateness_ms == 0


async def test_a_sign_of_life_comes_without_news_and_refreshes_everybody_in_turn(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter_module, "REFRESH_MIN", 2)
    monkeypatch.setattr(reporter_module, "REFRESH_PERIODS", 3)
    monkeypatch.setattr(reporter_module, "PERIOD_S", 0.03)
    desk.roster.change(*"abcdef")
    await desk.report(1)
    seen: set[str] = set()
    for number in range(2, 5):
        report = await desk.report(number)
        assert len(report.instances) == 2
        seen |= {one.uuid for one in report.instances}
    assert seen == set("abcdef")


async def test_what_was_not_sent_while_cut_off_is_made_up_for_by_a_full_report(desk: Desk) -> None:
    desk.roster.change("a")
    await desk.report(1)
    desk.line._broker.cut()
    desk.roster.change("b")
    await asyncio.sleep(0.1)
    desk.line._broker.heal()
    desk.reporter.ask_full()  # as the agent does at each connection
    second = await desk.report(2)
    assert {one.uuid for one in second.instances} == {"a", "b"}


async def test_reports_count_within_an_epoch_of_the_agents_own(desk: Desk) -> None:
    for number in range(1, 4):
        desk.roster.change("a")
        await desk.report(number)
    assert [report.seq for report in desk.line.reports] == [1, 2, 3]
    (epoch,) = {report.epoch for report in desk.line.reports}
    other = Desk("another")
    assert epoch != other.reporter._epoch


async def test_an_outbox_that_cannot_be_written_and_what_waits_in_it_are_told(desk: Desk) -> None:
    desk.roster.change("a")
    first = await desk.report(1)
    assert (first.waiting, first.outbox_durable) == (0, True)
    desk.outbox._broken = True
    desk.outbox._waiting = {1: None, 2: None}  # type: ignore[dict-item]
    desk.roster.change("a")
    second = await desk.report(2)
    assert (second.waiting, second.outbox_durable) == (2, False)
