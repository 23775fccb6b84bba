"""kill -9 of everything at random moments while faults flow: none lost, none doubled, in order.

`CHAOS_S` is for how long (`make chaos`: 10 minutes), `CHAOS_SEED` repeats what a seed chose,
`CHAOS_BROKER` is mosquitto or rabbitmq.
"""

import asyncio
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

from chaos.cloud import ChaosCloud, Part, until
from chaos.consumer import Consumer, Taken
from servers.mosquitto import MosquittoServer
from servers.postgresql import PostgresqlServer
from servers.rabbitmq import RabbitMqServer

CHAOS_S = float(os.environ.get("CHAOS_S", "15"))
# Until everything has arrived, once nothing is killed any more; 20 s on an idle machine.
CALM_S = 150 + CHAOS_S / 3
AGENTS, CONTROLLERS = 3, 2
PAUSE_S = (0.3, 1.8)  # between two killings
AWAY_S = (0.0, 1.5)  # until who was killed is started again


def make_broker(folder: Path) -> MosquittoServer | RabbitMqServer:
    if os.environ.get("CHAOS_BROKER") == "rabbitmq":
        return RabbitMqServer()
    return MosquittoServer(folder)


def by_instance(changes: Iterable[Taken]) -> dict[str, list[tuple[str, str]]]:
    found = defaultdict(list)
    for change in changes:
        found[change.instance].append((change.fault_id, change.status))
    return found


def without_echoes(changes: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """A change that is told again before the next one has no further effect."""
    return [one for number, one in enumerate(changes) if number == 0 or one != changes[number - 1]]


async def kill_at_random(cloud: ChaosCloud, chance: random.Random) -> Counter[str]:
    """For `CHAOS_S`. At the end everybody is alive."""
    killed: Counter[str] = Counter()
    down: set[str] = set()
    healing: set[asyncio.Task[None]] = set()

    async def kill(part: Part, away_s: float) -> None:
        await asyncio.to_thread(part.kill)
        await asyncio.sleep(away_s)
        await asyncio.to_thread(part.start)
        down.discard(part.name)

    end = time.monotonic() + CHAOS_S
    while time.monotonic() < end:
        await asyncio.sleep(chance.uniform(*PAUSE_S))
        part = chance.choice(cloud.parts)
        away_s = chance.uniform(*AWAY_S)
        if part.name in down:
            continue
        killed[part.name] += 1
        down.add(part.name)
        healing.add(asyncio.create_task(kill(part, away_s)))
    await asyncio.gather(*healing)
    return killed


@pytest.mark.timeout(CHAOS_S + CALM_S + 300)
async def test_whoever_is_killed_no_fault_is_lost_doubled_or_out_of_order(tmp_path) -> None:
    seed = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(2**32)))
    print(f"CHAOS_SEED={seed}")
    chance = random.Random(seed)
    with (
        make_broker(tmp_path) as broker,
        PostgresqlServer() as database,
        Consumer(chance.randrange(2**32)) as consumer,
    ):
        cloud = ChaosCloud(
            *(tmp_path, broker, database, consumer.url), agents=AGENTS, controllers=CONTROLLERS
        )
        try:
            cloud.open()
            supervising = asyncio.create_task(cloud.supervise())
            await until(lambda: len(consumer.taken) > 20, 150, "faults flow")
            killed = await kill_at_random(cloud, chance)
            cloud.end_illnesses()
            consumer.failing = False
            await asyncio.sleep(0.5)
            calm = time.monotonic()
            print(f"in the calm, {cloud.waiting()} wait")
            await until(cloud.all_acknowledged, CALM_S, "agents' outboxes are empty")
            acknowledged_s = time.monotonic() - calm
            truth = cloud.journal()
            while time.monotonic() < calm + CALM_S and not set(consumer.taken) >= set(truth):
                await asyncio.sleep(0.1)
            told_s = time.monotonic() - calm
            taken = set(consumer.taken)
            lost = [change for change in truth if change not in taken]
            assert not lost
            await asyncio.sleep(1.0)  # what comes now would be a change too many
            supervising.cancel()
        finally:
            print(f"at the end, {cloud.waiting()} wait")
            cloud.close()
            print(cloud.logs())
        print(
            f"{len(truth)} changes, {len(consumer.taken)} posts taken, {consumer.answers};"
            f" killed: {killed}; in the calm, all were acknowledged after {acknowledged_s:.1f} s"
            f" and told after {told_s:.1f} s"
        )
        expected, told = by_instance(truth), by_instance(consumer.taken)
        assert set(told) == set(expected)
        for instance, changes in expected.items():
            heard = without_echoes(told[instance])
            assert heard == changes, f"{instance}: it was {changes}, told was {told[instance]}"
        assert cloud.deaths == []  # nobody ended by itself
