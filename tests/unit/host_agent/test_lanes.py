"""One change of an instance on its way at a time, and nobody waits for another instance."""

import random

import pytest

from reachthru.host_agent.lanes import RESEND_S, WINDOW, Lanes
from reachthru.protocol.agent_bus import FaultChange
from reachthru.protocol.faults import FaultKind, FaultStatus, Severity

LIMIT = 1000


def change(seq: int, instance: str) -> FaultChange:
    return FaultChange(
        fault_id=f"f{seq}",
        seq=seq,
        status=FaultStatus.RAISED,
        kind=FaultKind.UNHEALTHY,
        severity=Severity.MAJOR,
        instance_uuid=instance,
        instance_name="n",
        host="compute-0",
        raised_at="",
    )


def lanes(*instances: str) -> Lanes:
    """The change `n` (from 1) is of the n-th instance."""
    made = Lanes()
    for seq, instance in enumerate(instances, start=1):
        made.add(change(seq, instance))
    return made


def taken(lanes: Lanes, now: float = 0.0, limit: int = LIMIT) -> list[int]:
    return [change.seq for change in lanes.take(limit, now)]


def test_an_instances_next_change_waits_for_the_acknowledgement_of_its_first() -> None:
    line = lanes("a", "a", "a")
    assert taken(line) == [1]
    assert taken(line) == []
    line.remove([1])
    assert taken(line) == [2]
    line.remove([2])
    assert taken(line) == [3]


def test_other_instances_are_not_held_up() -> None:
    line = lanes("a", "a", "b", "a", "c", "b")
    assert taken(line) == [1, 3, 5]
    line.remove([3])
    assert taken(line) == [6]


def test_the_oldest_go_first_and_no_more_than_asked_for() -> None:
    line = lanes(*"abcdef")
    assert taken(line, limit=4) == [1, 2, 3, 4]
    assert taken(line, limit=4) == [5, 6]


def test_no_more_than_a_window_is_on_its_way() -> None:
    line = lanes(*(f"i{number}" for number in range(2 * WINDOW)))
    assert len(taken(line)) == WINDOW
    line.remove([7, 8])
    assert taken(line) == [WINDOW + 1, WINDOW + 2]


def test_a_lost_acknowledgement_has_just_its_own_change_sent_again() -> None:
    line = lanes("a", "b", "a")
    assert taken(line, 10.0) == [1, 2]
    line.remove([2])
    assert line.deadline() == 10.0 + RESEND_S
    assert taken(line, 10.0 + RESEND_S - 0.1) == []
    assert taken(line, 10.0 + RESEND_S) == [1]
    line.remove([1])
    assert taken(line, 10.0 + RESEND_S) == [3]


def test_others_progress_does_not_hide_that_one_is_overdue() -> None:
    """As when one of two controllers died with what it had taken."""
    line = lanes("dead", *(f"i{number}" for number in range(100)))
    assert taken(line, 0.0, 1) == [1]
    for seq in range(2, 102):
        now = (seq - 1) * RESEND_S / 100
        if (again := taken(line, now, 1)) == [1]:
            break
        assert again == [seq]
        line.remove([seq])
    assert now == RESEND_S


def test_controllers_that_stay_silent_are_asked_less_and_less_often() -> None:
    line = lanes("a")
    moments, now = [], 0.0
    while len(moments) < 7:
        if taken(line, now):
            moments.append(now / RESEND_S)
        deadline = line.deadline()
        assert deadline is not None
        now = deadline
    assert moments == [0, 1, 3, 7, 15, 23, 31]


def test_a_rewind_sends_everything_that_is_not_acknowledged_at_once_in_order() -> None:
    line = lanes("a", "b", "a", "c")
    assert taken(line) == [1, 2, 4]
    line.remove([2])
    line.rewind()
    assert line.deadline() is None
    assert taken(line, 1.0) == [1, 4]
    assert line.deadline() == 1.0 + RESEND_S


def test_an_acknowledgement_that_comes_after_a_rewind_frees_the_next_change() -> None:
    line = lanes("a", "a")
    assert taken(line) == [1]
    line.rewind()
    line.remove([1])
    assert taken(line) == [2]
    line.remove([1, 1])
    assert taken(line) == []
    line.remove([2])
    assert taken(line, 1e9) == []


def test_an_acknowledgement_of_what_waits_in_the_middle_costs_nobody_the_turn() -> None:
    """As after an agent of an older version, which sent several of an instance at once."""
    line = lanes("a", "a", "a")
    line.remove([2])
    assert taken(line) == [1]
    line.remove([1])
    assert taken(line) == [3]


def test_unknown_acknowledgements_are_nothing() -> None:
    line = lanes("a")
    line.remove([7, -1, 2**63])
    assert taken(line) == [1]


def test_a_change_that_was_dropped_is_not_sent() -> None:
    line = lanes("a", "a", "b")
    line.remove([1, 3])
    assert taken(line) == [2]


@pytest.mark.parametrize("seed", range(20))
def test_whichever_controller_takes_what_each_instances_changes_are_stored_in_order(
    seed: int,
) -> None:
    """Messages overtake each other, are lost and repeated; acks are lost; connections break."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    line, now, last_seq = Lanes(), 0.0, 0
    carried: list[FaultChange] = []
    acks: list[int] = []
    stored: dict[str, list[int]] = {}
    of: dict[str, list[int]] = {}
    while last_seq < 400 or any(stored.get(uuid) != seqs for uuid, seqs in of.items()):
        now += chance.uniform(0, 0.5)
        assert now < 5000, "some were never stored"
        if last_seq < 400 and chance.random() < 0.6:
            last_seq += 1
            uuid = f"i{chance.randrange(8)}"
            of.setdefault(uuid, []).append(last_seq)
            line.add(change(last_seq, uuid))
        for sent in line.take(chance.randrange(1, 5), now):
            carried += [sent] * chance.choice([0, 1, 1, 1, 2])
        if chance.random() < 0.02:
            line.rewind()
        chance.shuffle(carried)
        for _ in range(chance.randrange(4)):
            if carried:
                got = carried.pop()
                seqs = stored.setdefault(got.instance_uuid, [])
                if got.seq not in seqs:
                    seqs.append(got.seq)
                acks += [got.seq] * chance.choice([0, 1, 1, 2])
        chance.shuffle(acks)
        line.remove([acks.pop() for _ in range(min(len(acks), chance.randrange(4)))])
    assert stored == of
