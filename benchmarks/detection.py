"""How late a hang is found: guests stop answering at random moments.

`detected` minus the deadline by which the answer should have been there, as the fault itself
says; what a guest's interval adds before that is the guest's own choice.
"""

import random
import time

from benchmarks.player import SEED, Player
from benchmarks.results import Result, percentile
from reachthru.demo.stack import Stack

GUESTS = 300
INTERVAL_MS = 1000
HANGING = 200
SPREAD_S = 20.0
LIMIT_S = 10.0


def run() -> list[Result]:
    print(f"detection: {HANGING} of {GUESTS} guests hang within {SPREAD_S:g} s ...", flush=True)
    chance = random.Random(SEED)
    moments = sorted(chance.uniform(0, SPREAD_S) for _ in range(HANGING))
    with Stack("directory") as stack, Player(stack.ports, GUESTS, INTERVAL_MS) as player:
        player.wait_until_all_beat()
        started_at = time.monotonic()
        for index, moment in enumerate(moments):
            time.sleep(max(0.0, started_at + moment - time.monotonic()))
            player.hang(index)
        until = time.monotonic() + LIMIT_S
        while len(stack.consumer.deliveries()) < HANGING and time.monotonic() < until:
            time.sleep(0.2)
        time.sleep(2 * INTERVAL_MS / 1000)
        faults = [delivery.fault for delivery in stack.consumer.deliveries()]
    late_ms = sorted(-fault["stages_ms"]["deadline"] for fault in faults)
    told_ms = sorted(fault["stages_ms"]["stored"] for fault in faults)
    detail = (
        f"p50 {percentile(late_ms, 0.5):.1f}, max {late_ms[-1]:.1f}; stored by the controller"
        f" {percentile(told_ms, 0.99):.1f} later (p99); {len(faults)} of {HANGING} found,"
        f" {max(0, len(faults) - HANGING)} false"
    )
    return [Result("detection_overhead_p99.idle", percentile(late_ms, 0.99), "ms", detail=detail)]
