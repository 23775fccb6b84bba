"""The network between a compute node and the broker is gone, and nobody is told.

`PARTITION_S` is for how long (`make chaos`: 60 s).
"""

import asyncio
import os
import time

import pytest

from reachthru.protocol.faults import FaultKind
from servers.mosquitto import MosquittoServer
from servers.net import cable

PARTITION_S = float(os.environ.get("PARTITION_S", "11"))
# Deadlines for a busy machine.
DETECTED_S = 60.0  # 1
NOTICED_S = 40.0  # 8: a report each 5 s, confirmed within 3 s
BACK_S = 90.0  # 7, and a round trip for each change: tries to connect are at most 5 s apart


@pytest.fixture
async def cut_off(lab, tmp_path):
    """(lab, cable): the agent is in a network of its own, broker and controller are in ours."""
    with cable() as line, MosquittoServer(tmp_path, line.address) as broker:
        await lab.listen_on(broker.url)
        lab.configure(broker.url)
        lab.agent.prefix = line.inside
        yield lab, line
        lab.agent.kill()


def log_count(lab, *words: str) -> int:
    return sum(all(word in line for word in words) for line in lab.agent.log.splitlines())


async def until(check, timeout_s: float) -> float:
    """How long it took."""
    began = time.monotonic()
    while not check():
        assert time.monotonic() < began + timeout_s
        await asyncio.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.timeout(PARTITION_S + 300)
async def test_detection_goes_on_and_all_arrives_in_order_when_the_network_is_back(cut_off):
    lab, line = cut_off
    players = await lab.play("--interval-ms", "1000", count=3)  # the players may starve, too
    await lab.start()
    await lab.registered(*players.uuids)
    ill, well = players.uuids[0], players.uuids[2]
    line.pull()
    pulled_at = time.monotonic()
    flaps = 0
    while time.monotonic() < pulled_at + PARTITION_S or flaps < 3:
        flaps += 1
        await players.do("hang", 0)
        await until(lambda n=flaps: log_count(lab, ill, "heartbeat_lost raised") == n, DETECTED_S)
        await players.do("wake", 0)
        await until(lambda n=flaps: log_count(lab, ill, "heartbeat_lost cleared") == n, DETECTED_S)
        if flaps == 1:
            # A connection that is half open looks well: only what is not answered tells.
            await until(lambda: "no broker" in lab.agent.log, NOTICED_S)
            await until(lambda: lab.offline, NOTICED_S)
            assert not lab.offline[-1].clean
    told = log_count(lab, ill, "raised") + log_count(lab, ill, "cleared")
    assert lab.told() == []
    line.plug()
    await until(lambda: len(lab.told()) == told, BACK_S)
    assert told == 2 * flaps
    assert lab.told() == [("heartbeat_lost", "raised"), ("heartbeat_lost", "cleared")] * flaps
    await until(lambda: lab.reports[-1].waiting == 0, BACK_S)
    assert lab.agent.log.count("no broker") == 1
    assert not log_count(lab, well, FaultKind.HEARTBEAT_LOST)
