"""How many broadcasts a second reach all of their receivers.

A guest may send 20 a second, so it takes many: groups of ten on two hosts, in which everybody
broadcasts. Each step offers twice as many a second or more, until not all arrive in time. The
reference carries the same on its own, right after ours: in each group one client that sends, and
nine that receive.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.broadcast_parts import Case, Raw, cloud, cpu_of, daemons, idle_share
from benchmarks.group_guests import GroupGuests
from benchmarks.raw_broadcast import text_of
from benchmarks.results import Result, percentile
from reachthru.demo.stack import Stack

MEMBERS = 10
SIZE_BYTES = 100
GROUPS = {"mqtt": 12, "rabbit": 4}
STEPS_PER_S = {"mqtt": (400, 800, 1600), "rabbit": (25, 50, 100, 200)}
SENDING_S = 3.0
IN_TIME_S = 0.5  # what arrives later after the last one was due shows that more waits than goes
DRAIN_S = 1.5


@dataclass(frozen=True)
class Step:
    """What became of so many broadcasts a second. `cpu_us`: of each delivery."""

    offered_per_s: int
    sent: int
    whole: int  # that all receivers got
    took_s: float  # from the first sent to the last that arrived
    p99_ms: float
    cpu_us: float

    @property
    def per_s(self) -> float:
        return self.whole / self.took_s

    @property
    def is_carried(self) -> bool:
        return self.whole == self.sent and self.took_s <= SENDING_S + IN_TIME_S

    def __str__(self) -> str:
        if self.is_carried:
            return f"{self.offered_per_s}/s carried, p99 {self.p99_ms:.0f} ms"
        lost = 100 * (1 - self.whole / self.sent)
        return f"of {self.offered_per_s}/s {self.per_s:.0f}/s, {lost:.0f} % not whole"


def measure(carrier: str, url: str, bus: str) -> list[Result]:
    """`url` is the broker's for the reference, `bus` what our settings say of it."""
    groups = [Case(MEMBERS, SIZE_BYTES, number=number) for number in range(GROUPS[carrier])]
    in_turns = [
        uuid for nth in zip(*(case.group() for case in groups), strict=True) for uuid in nth
    ]
    with cloud(bus, groups) as (stack, guests):
        idle = idle_share(stack)
        ours: list[Step] = []
        for per_s in STEPS_PER_S[carrier]:
            print(f"broadcast: {carrier}, {per_s} a second ...", flush=True)
            ours.append(_ours(stack, guests, in_turns, idle, per_s))
            if not ours[-1].is_carried:
                break
    raw: list[Step] = []
    with (
        Raw(carrier, url, "receive", len(groups), MEMBERS - 1) as receivers,
        Raw(carrier, url, "send", len(groups)) as sender,
    ):
        for per_s in STEPS_PER_S[carrier]:
            print(f"broadcast: {carrier} alone, {per_s} a second ...", flush=True)
            raw.append(_raw(receivers, sender, per_s))
            if not raw[-1].is_carried:
                break
    return _results(carrier, ours, raw)


def _ours(
    stack: Stack, guests: GroupGuests, in_turns: Sequence[str], idle: float, per_s: int
) -> Step:
    pids = daemons(stack)
    guests.arrivals.clear()
    before_s, began = cpu_of(pids), time.monotonic()
    sent_at = {}
    for number in range(int(per_s * SENDING_S)):
        time.sleep(max(0.0, began + number / per_s - time.monotonic()))
        text = text_of(number, SIZE_BYTES)
        sent_at[number] = guests.broadcast(in_turns[number % len(in_turns)], text)
    time.sleep(DRAIN_S)
    cpu_s = cpu_of(pids) - before_s - idle * (time.monotonic() - began)
    return step_of(per_s, sent_at, guests.arrivals, cpu_s)


def _raw(receivers: Raw, sender: Raw, per_s: int) -> Step:
    pids = [receivers.process.pid, sender.process.pid]
    before_s = cpu_of(pids)
    at, count = time.monotonic() + 0.1, int(per_s * SENDING_S)
    sender.order({"at": at, "period_s": 1 / per_s, "count": count, "bytes": SIZE_BYTES})
    time.sleep(SENDING_S + DRAIN_S)
    cpu_s = cpu_of(pids) - before_s
    return step_of(per_s, sender.answer(), receivers.answer(), cpu_s)


def step_of(
    per_s: int,
    sent_at: Mapping[int, float],
    arrivals: Mapping[int, Sequence[float]],
    cpu_s: float,
) -> Step:
    last_of = {
        number: max(arrivals[number])
        for number in sent_at
        if len(arrivals.get(number, ())) == MEMBERS - 1
    }
    if not last_of:
        raise RuntimeError(f"of {len(sent_at)} broadcasts, {per_s} a second, none was whole")
    waits_ms = sorted((last - sent_at[number]) * 1000 for number, last in last_of.items())
    deliveries = sum(len(arrivals.get(number, ())) for number in sent_at)
    return Step(
        offered_per_s=per_s,
        sent=len(sent_at),
        whole=len(last_of),
        took_s=max(last_of.values()) - min(sent_at.values()),
        p99_ms=percentile(waits_ms, 0.99),
        cpu_us=cpu_s / deliveries * 1e6,
    )


def _results(carrier: str, ours: Sequence[Step], raw: Sequence[Step]) -> list[Result]:
    """CPU is compared at the highest step that both sides carried, or tried."""
    alike = min(len(ours), len(raw)) - 1
    while alike and not (ours[alike].is_carried and raw[alike].is_carried):
        alike -= 1
    return [
        Result(
            f"broadcast_rate.{carrier}",
            max(step.per_s for step in ours),
            "messages/s",
            max(step.per_s for step in raw),
            f"groups of {MEMBERS} on two hosts, 100 B, more is better; {_ladder(ours)};"
            f" reference: {_ladder(raw)}",
        ),
        Result(
            f"broadcast_cpu.{carrier}.many",
            ours[alike].cpu_us,
            "us",
            raw[alike].cpu_us,
            f"a delivery, at {ours[alike].offered_per_s} messages a second",
        ),
    ]


def _ladder(steps: Sequence[Step]) -> str:
    """The highest step that was carried, and what came after it."""
    return "; ".join(str(step) for step in steps[-2:])
