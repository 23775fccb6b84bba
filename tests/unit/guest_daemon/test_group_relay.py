"""Who a host's word is for, by a clock that the test turns."""

import pytest

from reachthru.guest_daemon.applications import RefusedError
from reachthru.guest_daemon.group.relay import WAITING_LIMIT, Relay
from reachthru.protocol.codec import Received
from reachthru.protocol.messages import (
    Broadcast,
    ServerGroupNack,
    StatusQuery,
    StatusResponse,
    StatusResponseDone,
)

STANDARD = "cgcs.server_grp"


class Application:
    """A sender, an asker and a hearer that writes down what it is told."""

    def __init__(self, address=STANDARD, seq=None):
        self.address = address
        self.seq = seq
        self.told = []

    def tell_refused(self, broadcast_id, log_msg):
        self.told.append((broadcast_id, log_msg))

    def take_member(self, status):
        self.told.append(status)

    def finish(self):
        self.told.append("done")

    def fail(self, log_msg):
        self.told.append(log_msg)

    def hear(self, message, dest_addr):
        self.told.append((dest_addr, message))

    def has_audience(self):
        return True


@pytest.fixture
def relay():
    relay = Relay(first_seq=100)
    relay.attach()
    return relay


def take(relay, now=0.0):
    taken = []
    while (output := relay.next_output(now)) is not None:
        taken.append(output)
    return taken


def nack(relay, kind="broadcast", log_msg="no", dest_addr=STANDARD, now=0.0):
    message = ServerGroupNack(orig_msg_type=kind, log_msg=log_msg)
    relay.receive(Received(message, STANDARD, 1, dest_addr), now)


def say(relay, message):
    relay.receive(Received(message, STANDARD, 1, STANDARD), 0.0)


def test_one_applications_broadcasts_keep_their_order(relay):
    application = Application()
    for number in range(10):
        relay.broadcast(application, str(number), 0.0)
    assert [message.data for _address, message in take(relay)] == list("0123456789")


def test_a_refusal_is_the_oldest_broadcasts(relay):
    first, second = Application(), Application()
    numbers = [relay.broadcast(one, "x", 0.0) for one in (first, second)]
    take(relay)
    nack(relay)
    assert (first.told, second.told) == ([(numbers[0], "no")], [])
    nack(relay)
    assert second.told == [(numbers[1], "no")]


def test_a_refusal_to_an_address_is_that_applications(relay):
    standard, other = Application(), Application("my.app")
    relay.broadcast(other, "x", 0.0)
    number = relay.broadcast(standard, "x", 0.0)
    take(relay)
    nack(relay)
    assert (standard.told, other.told) == ([(number, "no")], [])


def test_a_host_that_answers_the_standard_address_always_is_understood(relay):
    other = Application("my.app")
    number = relay.broadcast(other, "x", 0.0)
    take(relay)
    nack(relay)
    assert other.told == [(number, "no")]


@pytest.mark.parametrize(("now", "told"), [(1.9, "sender"), (2.0, "hearer")])
def test_after_two_seconds_a_refusal_is_nobodys_and_everyones(relay, now, told):
    sender, hearer = Application(), Application()
    relay.hearers.append(hearer)
    relay.broadcast(sender, "x", 0.0)
    take(relay)
    nack(relay, now=now)
    assert bool(sender.told) == (told == "sender")
    assert bool(hearer.told) == (told == "hearer")


def test_a_broadcast_that_the_host_does_not_take_is_dropped_and_its_sender_told(relay):
    application = Application()
    number = relay.broadcast(application, "x", 5.0)
    assert relay.deadline() == 7.0
    relay.wake(6.9)
    assert application.told == []
    relay.wake(7.0)
    assert application.told == [(number, "the host did not read it within 2 s")]
    assert take(relay) == []
    assert relay.counts == {"lost_host_slow": 1}


def test_what_waits_for_a_slow_host_is_bounded(relay):
    application = Application()
    for _ in range(WAITING_LIMIT):
        relay.broadcast(application, "x", 0.0)
    with pytest.raises(RefusedError, match="the host does not read: 64 broadcasts wait"):
        relay.broadcast(application, "x", 0.0)


def test_a_host_that_leaves_takes_nothing_of_the_old_one_to_the_next(relay):
    sender, asker = Application(), Application()
    number = relay.broadcast(sender, "x", 0.0)
    relay.query(asker)
    relay.detach()
    assert sender.told == [(number, "the host has left")]
    assert asker.told == ["the host has left"]
    with pytest.raises(RefusedError, match="no host is connected"):
        relay.query(asker)
    relay.attach()
    assert not relay.has_output


def test_queries_wait_for_each_other_and_those_who_wait_share_the_next(relay):
    first, second, third = Application(), Application(), Application()
    relay.query(first)
    assert take(relay) == [(STANDARD, StatusQuery(seq=101))]
    relay.query(second)
    relay.query(third)
    assert take(relay) == []
    say(relay, StatusResponse(seq=101, data={"a": 1}))
    say(relay, StatusResponseDone(seq=101))
    assert (first.told, second.told) == ([{"a": 1}, "done"], [])
    assert take(relay) == [(STANDARD, StatusQuery(seq=102))]
    say(relay, StatusResponse(seq=101, data={"late": 1}))
    say(relay, StatusResponseDone(seq=102))
    assert (first.told, second.told, third.told) == ([{"a": 1}, "done"], ["done"], ["done"])
    assert relay.counts["unasked"] == 1


def test_a_query_goes_out_with_its_askers_own_number_and_address(relay):
    ours, field, other = Application(), Application(seq=7), Application("my.app", seq=7)
    for asker in (ours, field, other):
        relay.query(asker)
    assert take(relay) == [(STANDARD, StatusQuery(seq=7))]
    say(relay, StatusResponseDone(seq=7))
    assert (ours.told, field.told, other.told) == (["done"], ["done"], [])
    assert take(relay) == [("my.app", StatusQuery(seq=7))]


def test_a_silent_host_fails_one_query_and_the_next_goes_out(relay):
    first, second = Application(), Application()
    relay.query(first)
    relay.next_output(10.0)
    relay.query(second)
    assert relay.deadline() == 12.0
    relay.wake(12.0)
    assert first.told == ["no answer from the host within 2 s"]
    assert len(take(relay, 12.0)) == 1
    assert second.told == []


def test_a_query_that_nobody_waits_for_any_more_holds_up_nobody(relay):
    gone, other = Application(), Application()
    relay.query(gone)
    take(relay)
    relay.query(other)
    relay.forget_asker(gone)
    assert take(relay) == [(STANDARD, StatusQuery(seq=102))]


def test_query_numbers_stay_within_what_field_peers_can_read():
    relay = Relay(first_seq=2**31 - 2)
    relay.attach()
    seqs = []
    for _ in range(3):
        relay.query(Application())
        seq = relay.next_output(0.0)[1].seq
        say(relay, StatusResponseDone(seq=seq))
        seqs.append(seq)
    assert seqs == [2**31 - 1, 1, 2]


def test_a_broadcast_of_the_hosts_is_told_with_whom_it_is_for(relay):
    hearer = Application()
    relay.hearers.append(hearer)
    message = Broadcast(source_instance="i", data="x")
    relay.receive(Received(message, STANDARD, 1, "my.app"), 0.0)
    assert hearer.told == [("my.app", message)]
