"""One word for each guest, host and group; and the part of a list that was asked for."""

import pytest

from reachthru.controller_server.groups.base import Group, Member, outline
from reachthru.controller_server.model import Host, Instance
from reachthru.controller_server.overview import verdicts
from reachthru.controller_server.overview.overview import REST_SHARE, Look
from reachthru.controller_server.overview.paging import Question, UnknownSortError, page_of
from reachthru.controller_server.overview.verdicts import Verdict
from reachthru.controller_server.round_trips import SAMPLES_KEPT, RoundTrips
from reachthru.protocol.faults import FaultKind


def instance(**values):
    defaults = {"uuid": "u", "name": "db", "host": "h", "state": "running", "interval_ms": 400}
    more = {"last_seen_at": None, "registered": True, "health": "healthy"}
    return Instance(**(defaults | more | values))


@pytest.mark.parametrize(
    ("values", "faults", "watched", "verdict"),
    [
        ({}, [], True, "well"),
        ({"health": None}, [], True, "well"),
        ({"registered": False}, [], True, "unwatched"),
        ({"state": "paused_by_user"}, [], True, "excused"),
        ({"state": "shut_off", "registered": False}, [], True, "excused"),
        ({}, [], False, "unknown"),
        ({"health": "unhealthy"}, [], True, "unwell"),
        ({}, [FaultKind.UNHEALTHY], True, "unwell"),
        ({}, [FaultKind.NEVER_REGISTERED], True, "unwell"),
        ({}, [FaultKind.UNHEALTHY, FaultKind.HEARTBEAT_LOST], True, "failing"),
        ({"state": "paused_by_user"}, [FaultKind.INSTANCE_LOST], False, "failing"),
    ],
)
def test_a_guest_in_one_word(values, faults, watched, verdict):
    assert verdicts.of_instance(instance(**values), faults, watched=watched) == verdict


@pytest.mark.parametrize(
    ("state", "guests", "lost", "durable", "verdict"),
    [
        ("online", [Verdict.WELL, Verdict.UNWATCHED], False, True, "well"),
        ("online", [Verdict.WELL, Verdict.UNWELL], False, True, "unwell"),
        ("online", [], False, False, "unwell"),
        ("offline", [Verdict.FAILING], False, True, "unknown"),
        ("offline", [], True, True, "failing"),
    ],
)
def test_a_host_in_one_word(state, guests, lost, durable, verdict):
    host = Host(
        host="h",
        state=state,
        agent_version="1",
        guests=0,
        lateness_ms=0.0,
        outbox_durable=durable,
    )
    assert verdicts.of_host(host, guests, lost=lost) == verdict


@pytest.mark.parametrize(
    ("known", "states", "verdict"),
    [
        ({"a": Verdict.WELL, "b": Verdict.UNWELL}, ["active", "active"], "unwell"),
        ({"a": Verdict.WELL}, ["active", "error"], "failing"),
        ({"a": Verdict.WELL}, ["active", "stopped"], "excused"),
        ({}, [], "well"),
    ],
)
def test_a_group_is_as_its_worst_member(known, states, verdict):
    members = [
        Member(uuid=uuid, name=uuid, host=None, state=state, project_id="p", status={})
        for uuid, state in zip("ab", states, strict=False)
    ]
    group = Group(id="g", name="g", members=members)
    assert verdicts.of_group(outline(group), known) == verdict


NAMES = ["web-2", "db-1", "web-1", "DB-2"]


@pytest.mark.parametrize(
    ("question", "items", "total"),
    [
        (Question(), NAMES, 4),
        (Question(sort="name"), ["DB-2", "db-1", "web-1", "web-2"], 4),
        (Question(sort="-name", limit=1), ["web-2"], 4),
        (Question(search=" dB "), ["db-1", "DB-2"], 2),
        (Question(search="web", sort="name", offset=1, limit=5), ["web-2"], 2),
        (Question(offset=9), [], 4),
        (Question(search="nobody"), [], 0),
    ],
)
def test_the_part_of_a_list_that_was_asked_for(question, items, total):
    page = page_of(NAMES, question, texts=lambda name: (name,), keys={"name": str})
    assert (list(page.items), page.total) == (items, total)


def test_what_nothing_is_sorted_by_is_refused():
    with pytest.raises(UnknownSortError, match="sort = -size: must be one of name"):
        page_of(NAMES, Question(sort="-size"), texts=lambda name: (name,), keys={"name": str})


class Watch:
    """A clock, and looks that take 50 ms of it, as with 10,000 guests."""

    def __init__(self, age_limit_s=1e9):
        self.now = 0.0
        self.revision = 0
        self.looks = 0
        self.look = Look(
            self._look, lambda: self.revision, age_limit_s, lambda: self.now, self._sleep
        )

    async def _look(self):
        self.now += 0.05
        self.looks += 1
        return [self.revision]

    async def _sleep(self, seconds):
        self.now += seconds


async def test_who_asks_after_news_hears_it():
    watch = Watch()
    for revision in range(5):
        watch.revision = revision
        assert await watch.look.seen() == [revision]


async def test_looking_takes_a_fifth_of_the_time_at_most():
    watch = Watch()
    while watch.now < 10.0:
        watch.revision += 1
        await watch.look.seen()
    assert watch.looks * 0.05 <= 10.0 / (1 + REST_SHARE) + 0.1


async def test_without_news_what_was_seen_serves_until_it_is_old():
    watch = Watch(age_limit_s=2.0)
    for _ in range(100):
        await watch.look.seen()
    assert watch.looks == 1
    watch.now += 2.0
    await watch.look.seen()
    assert watch.looks == 2


def test_round_trips_are_bounded_and_forgotten():
    trips = RoundTrips()
    for number in range(SAMPLES_KEPT + 30):
        trips.add("a", 1_000_000.0 + number, float(number))
    kept = trips.of("a")
    assert len(kept) == SAMPLES_KEPT
    assert (kept[0].ms, kept[-1].ms) == (30.0, SAMPLES_KEPT + 29.0)
    assert kept[0].at == "1970-01-12T13:47:10.000000+00:00"
    assert trips.last_ms("a") == kept[-1].ms
    trips.forget("a")
    assert trips.of("a") == [] and trips.last_ms("a") is None
