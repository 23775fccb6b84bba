"""A domain whose flavor asks for a port that it was booted without."""

import asyncio
import logging

import pytest

from reachthru.host_agent.discovery.base import Service
from reachthru.protocol.faults import Condition

pytest.importorskip("libvirt")
hotplug = pytest.importorskip("reachthru.host_agent.discovery.libvirt.hotplug")
connection = pytest.importorskip("reachthru.host_agent.discovery.libvirt.connection")
domain_xml = pytest.importorskip("reachthru.host_agent.discovery.libvirt.domain_xml")

UUID = "u-1"


class Libvirt:
    """Takes a port when the test lets it, and refuses with `error`."""

    def __init__(self, *, allowed: bool = True, error: str = "") -> None:
        self.attached: list[str] = []
        self.notes: dict[str, str] = {}
        self.error = error
        self.busy = asyncio.Event()
        self.busy.set()
        self.hotplug = hotplug.Hotplug(
            allowed=allowed, attach=self._attach, on_note=self.notes.__setitem__
        )

    async def _attach(self, uuid: str) -> None:
        self.attached.append(uuid)
        await self.busy.wait()
        if self.error:
            raise connection.LibvirtUnavailableError(self.error)

    async def look(
        self,
        condition: Condition = Condition.RUNNING,
        *,
        uuid: str = UUID,
        lacks_port: bool = True,
        has_controller: bool = True,
    ) -> str:
        """The domain's note, after all that can happen has happened."""
        facts = domain_xml.DomainFacts(
            "db-1", Service.HEARTBEAT, lacks_port=lacks_port, has_controller=has_controller
        )
        self.hotplug.look(uuid, facts, condition)
        for _ in range(5):
            await asyncio.sleep(0)
        return self.notes[uuid]


async def test_a_running_domain_is_given_its_port_once() -> None:
    libvirt = Libvirt()
    assert "is being plugged in" in await libvirt.look()
    await libvirt.look()
    assert await libvirt.look(lacks_port=False) == ""
    assert libvirt.attached == [UUID]


async def test_an_operator_who_did_not_allow_it_is_told_what_would_help() -> None:
    libvirt = Libvirt(allowed=False)
    note = await libvirt.look()
    assert "a hard reboot" in note
    assert "hotplug = true" in note
    assert libvirt.attached == []


async def test_without_a_controller_it_is_said_once_and_not_tried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    libvirt = Libvirt()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert "without a virtio-serial controller" in await libvirt.look(has_controller=False)
    assert libvirt.attached == []
    assert len(caplog.records) == 1


async def test_an_attempt_that_fails_is_said_and_is_not_repeated_before_the_next_boot(
    caplog: pytest.LogCaptureFixture,
) -> None:
    libvirt = Libvirt(error="no free port")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await libvirt.look()
    assert "libvirt did not plug one in: no free port" in libvirt.notes[UUID]
    assert libvirt.attached == [UUID]
    assert sum("no free port" in record.getMessage() for record in caplog.records) == 1
    libvirt.hotplug.forget(UUID)
    await libvirt.look()
    assert libvirt.attached == [UUID, UUID]


@pytest.mark.parametrize(
    "condition",
    [Condition.MIGRATING, Condition.POST_COPY, Condition.SAVING, Condition.STARTING_UP],
)
async def test_a_domain_that_moves_is_given_its_port_when_it_has_arrived(
    condition: Condition,
) -> None:
    libvirt = Libvirt()
    libvirt.notes[UUID] = ""
    await libvirt.look(condition)
    assert libvirt.attached == []
    await libvirt.look()
    assert libvirt.attached == [UUID]


async def test_a_domain_that_is_shut_off_has_no_note() -> None:
    libvirt = Libvirt(allowed=False)
    await libvirt.look()
    assert await libvirt.look(Condition.SHUT_OFF) == ""


async def test_a_port_that_somebody_unplugs_is_not_plugged_in_again() -> None:
    libvirt = Libvirt()
    await libvirt.look()
    await libvirt.look(lacks_port=False)
    assert "is gone" in await libvirt.look()
    assert libvirt.attached == [UUID]


async def test_a_compute_node_full_of_them_leaves_libvirt_to_others_too() -> None:
    libvirt = Libvirt()
    libvirt.busy.clear()
    for number in range(20):
        await libvirt.look(uuid=f"u-{number}")
    assert len(libvirt.attached) == hotplug.AT_ONCE
    libvirt.busy.set()
    while len(libvirt.attached) < 20:
        await asyncio.sleep(0)
