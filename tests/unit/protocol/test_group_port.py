"""One guest's server-group messages at its host: an hour of them in no time."""

import itertools

from reachthru.protocol.agent_bus import GroupNotification
from reachthru.protocol.group_port import (
    BroadcastAsked,
    GroupPolicy,
    GroupPort,
    Lost,
    OutOfPlace,
    StatusAsked,
)
from reachthru.protocol.messages import (
    Broadcast,
    Notification,
    ServerGroupNack,
    StatusQuery,
    StatusResponse,
    StatusResponseDone,
)

APP = "cgcs.server_grp"


def make(**policy):
    return GroupPort("me", GroupPolicy(**policy), itertools.count(1).__next__)


def drain(port, base_version=1):
    said = []
    while port.has_output:
        said += port.take_output(base_version)
    return said


def messages(port):
    return [item.message for item in drain(port)]


def nack(port):
    (message,) = messages(port)
    assert isinstance(message, ServerGroupNack)
    return message


def test_a_broadcast_goes_out_once_and_silence_is_consent_after_the_ack():
    port = make()
    port.receive(Broadcast(data="hello"), APP, 0.0)
    assert port.take_events() == [BroadcastAsked(1, "hello")]
    port.taken(1)
    port.wake(100.0)
    assert port.deadline() is None and not port.has_output and not port.take_events()


def test_what_nobody_acknowledges_is_refused_within_a_second():
    port = make()
    port.receive(Broadcast(data="hello"), APP, 10.0)
    port.receive(StatusQuery(seq=5), APP, 10.1)
    assert 10.5 < port.deadline() < 10.95
    port.wake(port.deadline())
    assert nack(port) == ServerGroupNack(
        orig_msg_type="broadcast", log_msg="controller unavailable"
    )
    port.wake(11.0)
    assert nack(port).orig_msg_type == "status_query"
    port.taken(1)
    port.answered(2, [{"instance_id": "late"}], 11.5)
    assert not port.has_output


def test_with_the_bus_down_the_guest_is_told_at_once():
    port = make()
    port.receive(Broadcast(data="hello"), APP, 0.0)
    port.unreachable(1, 0.0)
    assert nack(port).log_msg == "controller unavailable"


def test_a_controllers_refusal_reaches_the_application_that_asked():
    port = make()
    port.receive(Broadcast(data="hello"), "app.two", 0.0)
    port.refused(1, "not a member of any server group", 0.1)
    (answer,) = drain(port)
    assert answer.dest_addr == "app.two"
    assert answer.message.log_msg == "not a member of any server group"


def test_an_address_that_no_socket_can_have_is_not_answered_there():
    port = make()
    port.receive(Broadcast(data="x" * 4000), "a" * 108, 0.0)
    (answer,) = drain(port)
    assert answer.dest_addr == APP


def test_a_wrong_broadcast_never_leaves_the_host():
    port = make()
    port.receive(Broadcast(data="x" * 3051), APP, 0.0)
    assert port.take_events() == []
    assert "3051" in nack(port).log_msg


def test_what_a_guest_claims_of_itself_is_nowhere():
    port = make()
    port.receive(Broadcast(source_instance="somebody", data="hello"), APP, 0.0)
    assert port.take_events() == [BroadcastAsked(1, "hello")]


def test_what_only_hosts_say_is_out_of_place():
    port = make()
    port.receive(Notification(data={"state": "error"}), APP, 0.0)
    port.receive(StatusResponseDone(seq=1), APP, 0.0)
    events = port.take_events()
    assert [type(event) for event in events] == [OutOfPlace, OutOfPlace]
    assert not port.has_output


def test_over_its_rate_a_guest_is_told_now_and_then_and_every_loss_is_counted():
    port = make(rate_per_s=20.0, burst=40)
    for number in range(1000):  # in one second
        port.receive(Broadcast(data=str(number)), APP, number / 1000)
    events = port.take_events()
    asked = [event for event in events if isinstance(event, BroadcastAsked)]
    assert 40 + 19 <= len(asked) <= 40 + 20
    assert events.count(Lost("me", "rate")) == 1000 - len(asked)
    nacks = messages(port)
    assert 1 <= len(nacks) <= 6
    assert "20 messages a second" in nacks[0].log_msg
    port.receive(Broadcast(data="later"), APP, 2.0)
    assert isinstance(port.take_events()[0], BroadcastAsked)


def test_what_was_dropped_unread_is_counted_and_told_now_and_then():
    port = make()
    for moment in range(100):
        port.flooded(150, moment / 100)
    assert port.take_events() == [Lost("me", "flood", 150)] * 100
    nacks = messages(port)
    assert 1 <= len(nacks) <= 6
    assert nacks[0].orig_msg_type == "unknown"


def test_queries_and_broadcasts_share_the_rate():
    port = make(rate_per_s=1.0, burst=2)
    port.receive(Broadcast(data="x"), APP, 0.0)
    port.receive(StatusQuery(seq=1), APP, 0.0)
    port.receive(StatusQuery(seq=2), APP, 0.0)
    assert nack(port).orig_msg_type == "status_query"


def test_an_answer_is_each_member_and_then_done():
    port = make()
    port.receive(StatusQuery(seq=9), "app", 0.0)
    assert port.take_events() == [StatusAsked(1)]
    port.answered(1, [{"instance_id": "a"}, {"instance_id": "b"}], 0.2)
    answers = drain(port)
    assert [item.message for item in answers] == [
        StatusResponse(seq=9, data={"instance_id": "a"}),
        StatusResponse(seq=9, data={"instance_id": "b"}),
        StatusResponseDone(seq=9),
    ]
    assert {item.dest_addr for item in answers} == {"app"}


def test_a_newer_query_cancels_an_older_one_of_the_same_application():
    port = make()
    port.receive(StatusQuery(seq=1), "one", 0.0)
    port.receive(StatusQuery(seq=1), "two", 0.0)
    port.answered(1, [{"instance_id": "a"}] * 20, 0.1)
    assert port.take_output(1)[0].message.seq == 1  # it had begun
    port.receive(StatusQuery(seq=2), "one", 0.2)
    assert not port.has_output
    port.answered(2, [], 0.3)
    port.answered(3, [], 0.3)
    assert [(item.dest_addr, item.message.seq) for item in drain(port)] == [("two", 1), ("one", 2)]


def test_deliveries_wait_one_by_one_and_keep_their_order():
    port = make()
    for number in range(5):
        port.deliver("peer", str(number), 0.0)
    assert len(port.take_output(1)) == 1
    assert [item.data for item in messages(port)] == ["1", "2", "3", "4"]


def test_of_too_many_the_oldest_is_lost_and_of_those_too_old_all():
    port = make(max_queue=3, max_age_s=2.0)
    for number in range(5):
        port.deliver(f"peer-{number}", str(number), float(number) / 10)
    assert port.take_events() == [Lost("peer-0", "overflow"), Lost("peer-1", "overflow")]
    assert port.deadline() == 0.2 + 2.0
    port.wake(2.3)
    assert port.take_events() == [Lost("peer-2", "stale"), Lost("peer-3", "stale")]
    assert [item.data for item in messages(port)] == ["4"]


def test_answers_that_nobody_reads_are_dropped_too():
    port = make()
    port.receive(Broadcast(data="x" * 4000), APP, 0.0)
    port.wake(2.0)
    assert not port.has_output
    assert port.take_events() == [Lost("me", "stale")]


def test_a_notification_is_shaped_when_it_is_written():
    port = make()
    news = GroupNotification(
        recipients=["me"],
        event_type="compute.instance.update",
        priority="INFO",
        timestamp="now",
        payload={"instance_id": "peer", "state": "active"},
    )
    port.notify(news, 0.0)
    port.notify(news, 0.0)
    (first,), (second,) = port.take_output(1), port.take_output(2)
    assert first.message.data["state"] == "active"
    assert second.message.data["payload"]["state"] == "active"


def test_who_asked_is_gone_with_the_connection_but_peers_words_wait():
    port = make()
    port.receive(StatusQuery(seq=1), APP, 0.0)
    port.receive(Broadcast(data="x" * 4000), APP, 0.0)
    port.deliver("peer", "for you", 0.0)
    port.reset()
    port.answered(1, [{"instance_id": "a"}], 0.1)
    assert [item.data for item in messages(port)] == ["for you"]
