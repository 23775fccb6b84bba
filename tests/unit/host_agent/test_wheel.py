"""Deadlines in slots: never early, never late by more than a slot, one entry an item."""

import random

from reachthru.host_agent.wheel import SLOT_S, SPREAD_SLOTS, Wheel, slot_of


class Item:
    def __init__(self, moment: float | None) -> None:
        self.moment = moment
        self.slot: int | None = None

    def deadline(self) -> float | None:
        return self.moment


def entries(wheel: Wheel[Item]) -> int:
    return sum(len(items) for items in wheel._slots.values())


def test_an_item_fires_in_the_first_slot_that_is_not_before_its_deadline() -> None:
    wheel: Wheel[Item] = Wheel()
    item = Item(0.013)
    wheel.arm(item)
    assert wheel.next_slot() == 2
    assert wheel.pop(1) == []
    assert wheel.pop(2) == [item]
    assert wheel.next_slot() is None


def test_an_interval_on_the_grid_stays_on_the_grid_for_days() -> None:
    slot, interval_slots = 1_234_567, 10
    for _ in range(100_000):
        following = slot_of(slot * SLOT_S + interval_slots * SLOT_S)
        assert following == slot + interval_slots
        slot = following + 977


def test_a_deadline_that_moves_later_adds_no_entry_and_fires_early() -> None:
    wheel: Wheel[Item] = Wheel()
    item = Item(0.01)
    wheel.arm(item)
    for moment in range(1, 100):
        item.moment = float(moment)
        wheel.arm(item)
    assert entries(wheel) == 1
    assert wheel.pop(1) == [item]


def test_a_deadline_that_moves_earlier_takes_its_entry_along() -> None:
    wheel: Wheel[Item] = Wheel()
    item = Item(10.0)
    wheel.arm(item)
    item.moment = 0.02
    wheel.arm(item)
    assert entries(wheel) == 1
    assert wheel.pop(2) == [item]
    assert wheel.pop(2000) == []


def test_an_item_without_a_deadline_or_disarmed_does_not_fire() -> None:
    wheel: Wheel[Item] = Wheel()
    silent, removed = Item(None), Item(0.01)
    wheel.arm(silent)
    wheel.arm(removed)
    wheel.disarm(removed)
    assert wheel.pop(100) == []
    assert removed.slot is None


def test_what_is_late_comes_out_earliest_first() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    wheel: Wheel[Item] = Wheel()
    items = [Item(chance.uniform(0, 5)) for _ in range(500)]
    for item in items:
        wheel.arm(item)
    slots = [slot_of(item.deadline() or 0) for item in wheel.pop(500)]
    assert len(slots) == 500
    assert slots == sorted(slots)


def test_what_a_stall_gathered_in_one_slot_spreads_again_without_being_late_for_long() -> None:
    wheel: Wheel[Item] = Wheel()
    items = [Item(10.0) for _ in range(1000)]
    for item in items:
        wheel.arm(item)
    worst_late_slots, fullest = 0, 0
    for slot in range(1000, 1000 + 20 * 100):
        due = wheel.pop(slot)
        fullest = len(due) if slot >= 1000 + 15 * 100 else 0
        assert fullest < 100
        for item in due:
            assert item.moment is not None
            worst_late_slots = max(worst_late_slots, slot - slot_of(item.moment))
            item.moment = slot * SLOT_S + 1.0  # the next challenge, a second on
            wheel.arm(item)
    assert worst_late_slots <= SPREAD_SLOTS
    assert entries(wheel) == len(items)


def test_items_that_stand_apart_are_never_moved() -> None:
    wheel: Wheel[Item] = Wheel()
    items = [Item(10.0 + index % 20 * SLOT_S) for index in range(1000)]
    for item in items:
        wheel.arm(item)
    for slot in range(1000, 1200):
        for item in wheel.pop(slot):
            assert item.moment is not None
            assert slot_of(item.moment) == slot
            item.moment = slot * SLOT_S + 0.2
            wheel.arm(item)
