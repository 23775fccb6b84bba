"""Agents and controllers one release apart: real daemons of both, in every mixture."""

import tempfile
from pathlib import Path

import pytest

from lab.cloud import Cloud
from lab.release import unpack

OLD_AGENT, NEW_AGENT = "host-old", "host-new"


@pytest.fixture(scope="module")
def last_release(tmp_path_factory) -> Path:
    return unpack(tmp_path_factory.mktemp("release"))


@pytest.fixture(params=["the last release's controller", "today's controller"])
async def cloud(request, last_release):
    """One agent of each version, a guest on each, and one group of both guests."""
    with tempfile.TemporaryDirectory(prefix="rt-") as folder:
        cloud = Cloud(Path(folder), (OLD_AGENT, NEW_AGENT))
        cloud.releases[OLD_AGENT] = last_release
        if request.param.startswith("the last"):
            cloud.releases["controller"] = last_release
        try:
            yield cloud
        finally:
            await cloud.close()
            print(cloud.logs())


def changes(cloud: Cloud, uuid: str) -> list[tuple[str, str]]:
    found = cloud.get(f"/v1/faults?instance={uuid}&limit=100").get("faults", [])
    return [(fault["kind"], fault["status"]) for fault in found]


async def test_faults_broadcasts_and_queries_go_both_ways(cloud):
    await cloud.start()
    guests = [await cloud.guest(host) for host in (OLD_AGENT, NEW_AGENT)]
    await cloud.group(ours=guests)
    for guest in guests:
        guest.register()
    await cloud.until(
        lambda: all(one["health"] == "healthy" for one in cloud.get("/v1/instances")["instances"])
    )
    for sender, receiver in (guests, guests[::-1]):
        for number in range(5):
            sender.broadcast(f"{number}")
        await receiver.wait_for("broadcast", 5)
        assert receiver.texts() == ["0", "1", "2", "3", "4"]
        sender.query(7)
        await sender.wait_for("status_response_done")
        assert len(sender.of("status_response")) == 2
        assert not sender.of("nack")
    for guest, peer in (guests, guests[::-1]):
        guest.beats = False
        await cloud.until(lambda g=guest: ("heartbeat_lost", "raised") in changes(cloud, g.uuid))
        await peer.wait_for("notification")
        guest.register()
        await cloud.until(lambda g=guest: changes(cloud, g.uuid) == [("heartbeat_lost", "cleared")])
    assert "garbled" not in cloud.logs()
    assert "replay" not in cloud.logs()


async def test_who_comes_back_after_its_neighbour_was_replaced_is_known_again(cloud):
    """Upgrades: an agent starts under a controller, and a controller over its agents."""
    await cloud.start()
    guests = [await cloud.guest(host) for host in (OLD_AGENT, NEW_AGENT)]
    for host in (OLD_AGENT, NEW_AGENT):
        cloud.kill(host)
        cloud.start_agent(host)
    fresh = [await cloud.guest(host) for host in (OLD_AGENT, NEW_AGENT)]
    cloud.kill("controller")
    (cloud.folder / "controller.sqlite").unlink()
    await cloud.start_controller()
    for guest, host in zip((*guests, *fresh), (OLD_AGENT, NEW_AGENT) * 2, strict=True):
        await cloud.known(guest, host)
