"""A played cloud as if it were somebody's: for tests of the page, and its pictures."""

import random

from lab.played_cloud import iso


async def seed_lifelike(cloud, reports, seed=7):
    """Two dozen hosts of a telephony cloud on an ordinary bad day; a report each 5 s until now."""
    dice = random.Random(seed)
    roles = ["amf", "smf", "upf", "pcscf", "hss", "mme", "sbc", "dns", "db", "lb"]
    members = {}
    for number in range(1, 25):
        host = await cloud.host(f"compute-{number:02}")
        host.lateness_ms = round(dice.lognormvariate(0, 0.6), 2)
        for _ in range(dice.randint(12, 24)):
            role = f"{dice.choice(roles)}-{dice.choice(['north', 'south'])}"
            name = f"{role}-{len(members.setdefault(role, [])) + 1}"
            members[role].append(name)
            host.add(name, interval_ms=dice.choice([400, 400, 1000, 2000]))
    _spoil(cloud, dice)
    for step in range(reports - 1, -1, -1):
        for host in cloud.hosts.values():
            for name, guest in host.guests.items():
                if guest.registered:
                    spike_ms = dice.uniform(6, 22) if dice.random() < 0.03 else 0.0
                    ms = round(3 + dice.lognormvariate(0.4, 0.5) + spike_ms, 2)
                    seen_s = dice.random() * guest.interval_ms / 1000
                    host.change(name, round_trip_ms=ms, last_seen_at=iso(seen_s))
        await cloud.report(ago_s=step * 5.0)
    groups = {}
    for role, names in sorted(members.items()):
        for start in range(0, len(names), 4):
            groups[f"{role}-{start // 4 + 1}"] = names[start : start + 4]
    cloud.set_groups(groups)
    return await _befall(cloud, dice)


def _spoil(cloud, dice):
    """What is so without a fault."""
    guests = [(host, name) for host in cloud.hosts.values() for name in host.guests]
    chosen = dice.sample(guests[100:], 9)
    for host, name in chosen[:4]:
        state = dice.choice(["paused_by_user", "migrating", "snapshot", "shutting_down"])
        host.change(name, state=state)
    for host, name in chosen[4:]:
        note = "its flavor asks for a heartbeat, and it has no port"
        silent = {"registered": False, "interval_ms": None, "last_seen_at": None, "health": None}
        host.change(name, note=note, round_trip_ms=None, **silent)


async def _befall(cloud, dice):
    """Faults, past and present. Returns {word: (host, guest's name, fault's id)}."""
    hosts = list(cloud.hosts.values())
    for ago_s in (26000, 17300, 9100, 5200, 2400, 1130):
        host = dice.choice(hosts)
        name = dice.choice(list(host.guests))
        kind, detail = dice.choice(PAST)
        fault_id = await host.raise_fault(name, kind, detail, ago_s=ago_s)
        await host.clear_fault(fault_id, "the guest answers again", dice.uniform(0.4, 0.99) * ago_s)
    told = {}
    for word, number, kind, detail, ago_s in PRESENT:
        host = hosts[number]
        name = list(host.guests)[number % 5]
        if word == "lost":
            cloud.refused.add(host.guests[name].uuid)
        host.change(name, **NOW.get(kind, {}))
        told[word] = (host, name, await host.raise_fault(name, kind, detail, ago_s))
    await cloud.report()
    return told


PAST = [
    ("unhealthy", "check disk: 96 % of /var is used"),
    ("heartbeat_lost", "no answer in time"),
    ("guest_daemon_lost", "cgcs.messaging was closed in the guest without a goodbye"),
]
# How guests are reported while they have such a fault.
NOW = {
    "unhealthy": {
        "health": "unhealthy",
        "health_detail": "check db: connection refused on 10.0.4.17:5432",
    },
    "instance_lost": {"state": "gone", "registered": False},
    "guest_daemon_lost": {"registered": False},
    "never_registered": {
        "registered": False,
        "interval_ms": None,
        "last_seen_at": None,
        "health": None,
        "round_trip_ms": None,
    },
}
PRESENT = [
    ("unhealthy", 6, "unhealthy", "check db: connection refused on 10.0.4.17:5432", 340),
    ("gone", 11, "instance_lost", "QEMU is gone: killed by signal 9", 95),
    ("unregistered", 17, "never_registered", "no session within 120 s", 610),
    ("daemon", 19, "guest_daemon_lost", "cgcs.messaging was closed without a goodbye", 22),
    ("lost", 2, "heartbeat_lost", "no answer in time", 0),
]
