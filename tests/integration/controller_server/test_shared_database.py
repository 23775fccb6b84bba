"""Two controllers of one PostgreSQL: whatever one leaves, the other delivers, in order."""

import asyncio
import random
import time

INSTANCES = 8  # of each host
ROUNDS = 3  # faults of each instance
CLAIM_S = 1 + 3  # the sink's timeout here, and the margin


def lives(agent, host):
    """Every instance fails and recovers, again and again."""
    return [
        agent.change(f"{host}-{instance}-{number}", status, f"{host}-{instance}")
        for number in range(ROUNDS)
        for instance in range(INSTANCES)
        for status in ("raised", "cleared")
    ]


def by_instance(changes):
    told = {}
    for fault_id, status, instance in changes:
        told.setdefault(instance, []).append((fault_id, status))
    return told


def as_told(receiver):
    return by_instance(
        (fault["id"], fault["status"], fault["instance_uuid"]) for fault in receiver.told
    )


def assert_told_in_order(receiver, changes):
    """Each instance's changes in their order; what a crash repeats is the last one only."""
    wanted = by_instance(
        (change.fault_id, change.status, change.instance_uuid) for change in changes
    )
    told = as_told(receiver)
    for instance, order in wanted.items():
        once = [
            item
            for item, before in zip(told[instance], [None, *told[instance]], strict=False)
            if item != before
        ]
        assert once == order, instance


def known(receiver):
    return {(fault["id"], fault["status"]) for fault in receiver.told}


async def test_kill_9_of_one_in_mid_delivery_loses_and_disorders_nothing(
    two_controllers, make_agent_of, receiver, wait_until
):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    receiver.chance = random.Random(seed + 1)
    first, second = two_controllers
    await asyncio.gather(first.start(), second.start())
    async with make_agent_of(first, "host-1") as one, make_agent_of(second, "host-2") as two:
        changes = lives(one, "host-1") + lives(two, "host-2")
        half = len(changes) // 2
        raising = [
            asyncio.create_task(one.raise_all(changes[:half])),
            asyncio.create_task(two.raise_all(changes[half:])),
        ]
        target = chance.randrange(20, half)
        await wait_until(lambda: len(receiver.told) > target)
        await first.kill()
        print(f"killed with {len(receiver.told)} of {len(changes)} told")
        await asyncio.sleep(chance.random())
        await first.start()
        await asyncio.gather(*raising)
        await wait_until(lambda: not one.outbox and not two.outbox)
        await wait_until(lambda: len(known(receiver)) == len(changes))
    assert_told_in_order(receiver, changes)


async def test_the_other_one_delivers_what_a_dead_one_was_delivering(
    two_controllers, make_agent_of, receiver, wait_until
):
    first, second = two_controllers
    await asyncio.gather(first.start(), second.start())
    receiver.mode = "hang"
    async with make_agent_of(first, "host-1") as agent:
        changes = lives(agent, "host-1")
        await agent.raise_all(changes)
        await wait_until(lambda: not agent.outbox)
        await wait_until(lambda: receiver.attempts > 0)
        await first.kill()
    receiver.mode = "answer"
    died = time.monotonic()
    await wait_until(lambda: len(known(receiver)) == len(changes))
    print(f"all told {time.monotonic() - died:.1f} s after the death")
    assert_told_in_order(receiver, changes)


async def test_a_clean_stop_leaves_nothing_claimed(
    two_controllers, make_agent_of, receiver, wait_until
):
    first, second = two_controllers
    await first.start()
    receiver.mode = "hang"
    async with make_agent_of(first, "host-1") as agent:
        changes = [agent.change(f"f{number}", "raised", f"i{number}") for number in range(5)]
        await agent.raise_all(changes)
        await wait_until(lambda: not agent.outbox)
        await wait_until(lambda: receiver.attempts > 0)
        await second.start()
        receiver.mode = "answer"
        assert (await first.stop())[0] == 0
    stopped = time.monotonic()
    await wait_until(lambda: len(known(receiver)) == len(changes))
    assert time.monotonic() - stopped < CLAIM_S - 1
