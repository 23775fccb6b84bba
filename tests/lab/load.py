"""Faults and broadcasts that flow while a test does its worst, and what is to come of them."""

import asyncio
import contextlib

from lab.controllers import until


async def until_true(condition, deadline_s=30):
    async with asyncio.timeout(deadline_s):
        while not await condition():
            await asyncio.sleep(0.05)


class Load:
    """Every agent's guests fail and recover, and one speaks to its group, `rate` times a second.

    As fast as the machine can: guests wait for what they said before.
    """

    def __init__(self, cloud, rate=5):
        self._cloud = cloud
        self._rate = rate
        self.said = []  # (agent, id, text)

    async def __aenter__(self):
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *error):
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self):
        while True:
            for agent in self._cloud.agents:
                instance = agent.instances[agent.said % len(agent.instances)]
                if not agent.outbox[instance]:
                    agent.toggle(instance)
                text = f"{agent.host} says {agent.said}"
                if agent.broadcast(agent.instances[0], text):
                    self.said.append((agent, agent.said, text))
            await asyncio.sleep(1 / self._rate)


async def settle(cloud):
    """Every change is acknowledged, and told to the webhook."""
    await until(lambda: not any(agent.waiting for agent in cloud.agents))
    expected = cloud.expected()
    await until(lambda: len(set(cloud.webhook.keys)) >= sum(map(len, expected.values())))
    assert cloud.webhook.by_instance() == expected
    await asyncio.sleep(0.3)  # what is still on its way to guests, or told twice


def lost_broadcasts(cloud, load, *, repeats=False):
    """Those that no controller acknowledged: the guest was told so. No other is lost or doubled.

    `repeats`: the broker carries again what a dead controller had not acknowledged. (A host agent
    drops it by its number; ours here have none.)
    """
    unanswered = []
    for agent, number, text in load.said:
        heard = [other.heard[text] for other in cloud.agents if other is not agent]
        if number in agent.taken:
            effects = [min(count, 1) if repeats else count for count in heard]
            assert effects == [1, 1, 1], (text, heard)
        else:
            assert number not in agent.refused, agent.refused
            unanswered.append(text)
    return unanswered
