"""A sender's messages come out in its order, soon, whoever carried them."""

import random

import pytest

from reachthru.protocol.resequencer import (
    HELD_A_SENDER_LIMIT,
    HELD_LIMIT,
    LATE,
    MISSING_LIMIT,
    REPEATED,
    SENDERS_LIMIT,
    WAIT_S,
    Resequencer,
)


class Receiver:
    def __init__(self) -> None:
        self.core: Resequencer[str] = Resequencer()
        self.delivered: list[str] = []
        self.dropped: list[tuple[str, str]] = []

    def hear(self, *messages: str, now: float = 0.0, sender: str = "s", epoch: str = "e") -> None:
        """`a3` is the third message of epoch `a`; a number alone is of epoch `e`."""
        for message in messages:
            number = message.lstrip("abcdef")
            of = message.removesuffix(number) or epoch
            self.core.receive(sender, of, int(number), message, now)
            self._collect()

    def wait(self, until: float) -> None:
        while (deadline := self.core.deadline()) is not None and deadline <= until:
            self.core.wake(deadline)
            self._collect()

    def _collect(self) -> None:
        self.delivered += self.core.take_output()
        self.dropped += self.core.take_dropped()


def test_what_comes_in_order_is_not_held_up() -> None:
    receiver = Receiver()
    receiver.hear("1", "2", "3")
    assert receiver.delivered == ["1", "2", "3"]
    assert receiver.core.deadline() is None


def test_what_overtook_another_waits_for_it() -> None:
    receiver = Receiver()
    receiver.hear("1", "3", "4")
    assert receiver.delivered == ["1"]
    receiver.hear("2")
    assert receiver.delivered == ["1", "2", "3", "4"]
    assert receiver.core.deadline() is None


def test_nobody_waits_longer_than_a_moment_and_what_comes_after_that_is_late() -> None:
    receiver = Receiver()
    receiver.hear("1")
    receiver.hear("3", now=1.0)
    receiver.hear("5", now=1.0 + WAIT_S / 2)
    assert receiver.core.deadline() == 1.0 + WAIT_S
    receiver.wait(1.0 + WAIT_S)
    assert receiver.delivered == ["1", "3"]
    receiver.wait(1.0 + 2 * WAIT_S)
    assert receiver.delivered == ["1", "3", "5"]
    receiver.hear("4", "2", now=2.0)
    assert receiver.dropped == [("4", LATE), ("2", LATE)]
    receiver.hear("6", now=2.0)
    assert receiver.delivered[-1] == "6"


def test_a_repeat_is_dropped_whether_its_first_was_delivered_or_waits() -> None:
    receiver = Receiver()
    receiver.hear("1", "1", "3", "3", "2", "2", "3")
    assert receiver.delivered == ["1", "2", "3"]
    assert receiver.dropped == [("1", REPEATED), ("3", REPEATED), ("2", REPEATED), ("3", REPEATED)]


def test_who_was_late_and_comes_again_is_a_repeat() -> None:
    receiver = Receiver()
    receiver.hear("1", "3")
    receiver.wait(1.0)
    receiver.hear("2", "2", now=1.0)
    assert receiver.dropped == [("2", LATE), ("2", REPEATED)]


def test_a_receiver_that_starts_in_the_middle_waits_once() -> None:
    receiver = Receiver()
    receiver.hear("70", "71")
    assert receiver.delivered == []
    receiver.hear("69", now=WAIT_S / 2)
    receiver.wait(WAIT_S)
    assert receiver.delivered == ["69", "70", "71"]
    receiver.hear("72", now=1.0)
    assert receiver.delivered[-1] == "72"


def test_a_new_epoch_ends_the_old_one() -> None:
    """The sender moved to another host, or its agent started anew."""
    receiver = Receiver()
    receiver.hear("a1", "a3")
    receiver.hear("b1", "a2", "b2")
    assert receiver.delivered == ["a1", "a3", "b1", "b2"]
    assert receiver.dropped == [("a2", LATE)]


def test_senders_do_not_wait_for_each_other() -> None:
    receiver = Receiver()
    receiver.hear("2", sender="one")
    receiver.hear("1", "2", sender="two")
    assert receiver.delivered == ["1", "2"]
    receiver.wait(WAIT_S)
    assert receiver.delivered == ["1", "2", "2"]


def test_an_older_agents_messages_are_delivered_as_they_come() -> None:
    receiver = Receiver()
    receiver.hear("0", "0", "0", epoch="")
    assert receiver.delivered == ["0", "0", "0"]


@pytest.mark.parametrize("seed", range(10))
def test_any_shuffle_with_repeats_comes_out_in_order_or_is_counted(seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    receiver = Receiver()
    arrivals = []
    for number in range(1, 301):
        for _ in range(chance.choice([0, 1, 1, 1, 1, 2])):
            arrivals.append((number * 0.01 + chance.uniform(0, 0.08), str(number)))
    for moment, message in sorted(arrivals):
        receiver.wait(moment)
        receiver.hear(message, now=moment)
    receiver.wait(100.0)
    numbers = [int(message) for message in receiver.delivered]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + len(receiver.dropped) == len(arrivals)
    assert len(numbers) > 200


def test_one_sender_that_never_sends_what_is_missing_holds_little() -> None:
    receiver = Receiver()
    receiver.hear(*(str(2 * number) for number in range(1, 1000)))
    assert receiver.core._held_count <= HELD_A_SENDER_LIMIT
    receiver.wait(1.0)
    assert receiver.delivered == [str(2 * number) for number in range(1, 1000)]
    assert len(receiver.core._senders["s"].missing) <= MISSING_LIMIT


def test_a_jump_of_any_size_costs_nothing() -> None:
    receiver = Receiver()
    receiver.hear("1", str(2**63 - 1), now=0.0)
    receiver.wait(1.0)
    assert receiver.delivered == ["1", str(2**63 - 1)]


def test_a_flood_of_senders_can_not_exhaust_the_memory_and_nothing_is_lost_by_it() -> None:
    receiver = Receiver()
    count = 3 * SENDERS_LIMIT
    for number in range(count):
        receiver.hear("2", sender=f"forged-{number}", now=0.0)
        assert receiver.core._held_count <= HELD_LIMIT
    receiver.wait(1.0)
    assert len(receiver.core._senders) == SENDERS_LIMIT
    assert len(receiver.core._waiting) == 0
    assert len(receiver.delivered) == count
