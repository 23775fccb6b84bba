"""Several controllers that share their agents' work through RabbitMQ."""

import asyncio

import pytest

from lab.load import Load, lost_broadcasts, settle, until_true

pytestmark = pytest.mark.xdist_group("rabbitmq")  # one server for all


async def test_one_is_killed_and_another_restarted_and_nothing_is_lost(rabbit_cloud):
    cloud = rabbit_cloud
    await until_true(cloud.leader)
    async with Load(cloud, rate=2) as load:
        leader = await cloud.leader()
        await leader.kill()
        await until_true(cloud.leader)
        successor = await cloud.leader()
        assert await successor.stop() == 0
        await successor.start()
        await asyncio.sleep(0.5)
    await settle(cloud)  # each change once in effect, in order an instance
    lost = lost_broadcasts(cloud, load, repeats=True)  # none that was acknowledged
    print(f"{len(load.said)} broadcasts, {len(lost)} unanswered")
    assert len(lost) < len(load.said)
