"""Applications of the field at the datagram door: plain sockets and json, by the wire contract.

Each daemon has a network namespace of its own, as abstract names belong to one.
"""

import ctypes
import json
import os
import socket
import time
from pathlib import Path

import pytest

TEXT = "Grüße, Приве́т, 你好, שלום, नमस्ते, 👩‍🚀" + "".join(map(chr, [*range(1, 10), *range(11, 32)]))
NAME = "cgcs.server_grp"


def enter(path):
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(path).open() as file:
        if libc.setns(file.fileno(), 0x40000000) != 0:  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), "setns")


class FieldApplication:
    """What an application linked to the field's server-group library does."""

    def __init__(self, guest, name=NAME):
        self.socket = in_namespace_of(guest)
        if name is not None:
            self.socket.bind(b"\0" + name if isinstance(name, bytes) else "\0" + name)
        self.socket.settimeout(5)

    def send(self, **data):
        self.send_raw(json.dumps({"version": 2, "dest_addr": NAME, "data": data}).encode())

    def send_raw(self, datagram):
        self.socket.sendto(datagram, "\0cgcs.messaging")

    def receive(self):
        """As the library does: 4096 bytes, version 2, from cgcs.server_grp."""
        message = json.loads(self.socket.recv(4096))
        assert (message["version"], message["source_addr"]) == (2, NAME)
        assert set(message) == {"version", "source_addr", "data"}
        return message["data"]

    def has_nothing(self, heard=None):
        """Whether nothing waits for it; otherwise that is taken, into `heard` if given."""
        self.socket.setblocking(False)
        try:
            datagram = self.socket.recv(4096)
            if heard is not None:
                heard.append(datagram)
            return False
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(5)


def in_namespace_of(guest):
    home = "/proc/thread-self/ns/net"
    own = os.open(home, os.O_RDONLY)
    try:
        enter(f"/proc/{guest.process.pid}/ns/net")
        return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    finally:
        enter(f"/proc/self/fd/{own}")
        os.close(own)


@pytest.fixture
def join():
    applications = []

    def make(guest, *name):
        applications.append(FieldApplication(guest, *name))
        return applications[-1]

    yield make
    for application in applications:
        application.socket.close()


@pytest.fixture(params=[1, 2], ids=["base1", "base2"])
def attached(request, start_guest, attach):
    guest = start_guest(own_names=True)
    host = attach(base_version=request.param)
    host.register()
    host.challenge(0)
    return guest, host


@pytest.mark.parametrize("text", ["x" * 3050, "你" * 1016 + "ab", TEXT], ids=range(3))
def test_a_broadcast_goes_both_ways_byte_for_byte(attached, join, text):
    guest, host = attached
    application = join(guest)
    application.send(msg_type="broadcast", data=text, version=2)
    assert host.receive_group("broadcast")["data"] == text
    assert host.envelope["source_addr"] == host.envelope["dest_addr"] == NAME
    host.send_group(msg_type="broadcast", source_instance="instance-00000002", data=text)
    assert application.receive() == {
        "msg_type": "broadcast",
        "source_instance": "instance-00000002",
        "data": text,
    }


def test_3051_bytes_get_a_nack_and_are_never_sent(attached, join):
    guest, host = attached
    application = join(guest)
    application.send(msg_type="broadcast", data="é" * 1525 + "x")
    nack = application.receive()
    assert (nack["msg_type"], nack["orig_msg_type"]) == ("nack", "broadcast")
    assert "3051 bytes of UTF-8, 3050 allowed" in nack["log_msg"]
    application.send(msg_type="broadcast", data="next")
    assert host.receive_group("broadcast")["data"] == "next"


def test_a_status_query_is_answered_with_the_applications_own_number(attached, join):
    guest, host = attached
    application = join(guest)
    application.send(msg_type="status_query", seq=7)
    members = [{"instance_id": f"i-{n}", "metadata": "m" * 3000} for n in range(40)]
    assert host.answer_query(members)["seq"] == 7
    for member in members:
        assert application.receive() == {"msg_type": "status_response", "seq": 7, "data": member}
    assert application.receive() == {"msg_type": "status_response_done", "seq": 7}


def test_a_newer_query_cancels_the_applications_older_one(attached, join):
    guest, host = attached
    application = join(guest)
    application.send(msg_type="status_query", seq=1)
    host.receive_group("status_query")
    application.send(msg_type="status_query", seq=2)
    newer = host.receive_group("status_query")
    host.send_group(msg_type="status_response", seq=1, data={"instance_id": "old"})
    host.send_group(msg_type="status_response_done", seq=1)
    host.send_group(msg_type="status_response", seq=newer["seq"], data={"instance_id": "new"})
    host.send_group(msg_type="status_response_done", seq=newer["seq"])
    assert application.receive()["data"] == {"instance_id": "new"}
    assert application.receive()["msg_type"] == "status_response_done"
    assert application.has_nothing()


def test_a_query_at_our_own_door_does_not_cancel_the_field_applications(attached, join, wait_until):
    guest, host = attached
    application = join(guest)
    application.send(msg_type="status_query", seq=3)
    query = host.receive_group("status_query")
    wait_until(guest.door_path.exists)
    with socket.socket(socket.AF_UNIX) as own:
        own.settimeout(5)
        own.connect(str(guest.door_path))
        own.sendall(b'{"op":"members"}\n')
        host.challenge(1)
        host.send_group(msg_type="status_response", seq=query["seq"], data={"a": 1})
        host.send_group(msg_type="status_response_done", seq=query["seq"])
        assert application.receive()["data"] == {"a": 1}
        assert application.receive()["msg_type"] == "status_response_done"
        host.answer_query([{"b": 2}])
        assert json.loads(own.recv(65536))["members"] == [{"b": 2}]
    assert application.has_nothing()


def test_notifications_and_refusals_come_as_the_host_sends_them(attached, join):
    guest, host = attached
    application = join(guest)
    data = {"event_type": "e", "priority": "INFO", "timestamp": "t", "payload": {"state": "x"}}
    host.send_group(msg_type="notification", data=data)
    assert application.receive() == {"msg_type": "notification", "data": data}
    application.send(msg_type="broadcast", data="x")
    host.receive_group("broadcast")
    host.send_group(msg_type="nack", orig_msg_type="broadcast", log_msg="no server group")
    assert application.receive() == {
        "msg_type": "nack",
        "orig_msg_type": "broadcast",
        "log_msg": "no server group",
    }


def test_the_guest_speaks_version_2_while_a_field_application_is_there(attached, join):
    guest, host = attached
    application = join(guest)
    host.challenge(1)
    assert host.envelope["version"] == 2
    application.socket.close()
    host.challenge(2)
    assert host.envelope["version"] == host.base_version


def test_each_socket_name_gets_its_own_answers(attached, join):
    guest, host = attached
    standard, other = join(guest), join(guest, "my.app")
    other.send(msg_type="broadcast", data="from my.app")
    host.receive_group("broadcast")
    assert host.envelope["source_addr"] == "my.app"
    host.send_group("my.app", msg_type="nack", orig_msg_type="broadcast", log_msg="to my.app")
    assert other.receive()["log_msg"] == "to my.app"
    other.send(msg_type="status_query", seq=9)
    host.receive_group("status_query")
    assert host.envelope["source_addr"] == "my.app"
    host.send_group("my.app", msg_type="status_response", seq=9, data={"a": 1})
    host.send_group("my.app", msg_type="status_response_done", seq=9)
    assert other.receive()["data"] == {"a": 1}
    assert other.receive()["msg_type"] == "status_response_done"
    host.send_group(msg_type="broadcast", source_instance="i", data="to all")
    assert standard.receive()["data"] == "to all"
    assert other.has_nothing()


def test_a_name_that_never_spoke_to_the_daemon_is_sent_nothing(attached, join):
    guest, host = attached
    stranger = join(guest, "some.service")
    host.send_group("some.service", msg_type="broadcast", source_instance="i", data="x")
    host.challenge(1)
    assert stranger.has_nothing()
    assert guest.status()["group"]["datagrams_lost_unknown_name"] == 1


GOOD = {"msg_type": "broadcast", "data": "x"}


@pytest.mark.parametrize(
    ("datagram", "nacked"),
    [
        (b"", False),
        (b"hello", False),
        (b"\xff\xfe", False),
        (b"[]", False),
        (b"[" * 60_000, False),
        (b'{"version":2,"dest_addr":"cgcs.server_grp","data":"' + b"x" * 70_000, False),
        ({"version": 2, "dest_addr": NAME}, True),
        ({"version": 2, "data": GOOD}, True),
        ({"version": 3, "dest_addr": NAME, "data": GOOD}, True),
        ({"version": "2", "dest_addr": NAME, "data": GOOD}, True),
        ({"version": 2, "dest_addr": "nobody", "data": GOOD}, True),
        ({"version": 2, "dest_addr": NAME, "data": [1]}, False),
        ({"version": 2, "dest_addr": NAME, "data": {"msg_type": "dance"}}, True),
        ({"version": 2, "dest_addr": NAME, "data": {"msg_type": "broadcast"}}, True),
        ({"version": 2, "dest_addr": NAME, "data": {"msg_type": "status_query"}}, True),
        ({"version": 2, "dest_addr": NAME, "data": {"msg_type": "status_query", "seq": -1}}, True),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_bad_datagram_costs_only_itself(attached, join, datagram, nacked):
    guest, host = attached
    application = join(guest)
    application.send_raw(datagram if isinstance(datagram, bytes) else json.dumps(datagram).encode())
    if nacked:
        nack = application.receive()
        assert (nack["msg_type"], nack["orig_msg_type"]) == ("nack", "unknown")
    application.send(**GOOD)
    assert host.receive_group()["data"] == "x"
    assert application.has_nothing()
    counts = guest.status()["group"]
    assert sum(count for what, count in counts.items() if what.startswith("datagrams_")) == 1


@pytest.mark.parametrize(
    ("dest_addr", "data"),
    [
        ("cgcs.heartbeat", {"version": 3, "revision": 1, "msg_type": "exit", "sequence": 1}),
        (NAME, {"msg_type": "status_response", "seq": 1, "data": {}}),
        (NAME, {"msg_type": "nack", "orig_msg_type": "broadcast", "log_msg": "x"}),
        (NAME, {"msg_type": "notification", "data": {}}),
    ],
)
def test_what_is_not_an_applications_to_say_goes_nowhere(attached, join, dest_addr, data):
    guest, host = attached
    application = join(guest)
    application.send_raw(json.dumps({"version": 2, "dest_addr": dest_addr, "data": data}).encode())
    assert host.challenge(1)["heartbeat_health"] == "healthy"
    assert application.has_nothing()
    assert guest.status()["group"]["datagrams_ignored"] == 1


def test_forged_addresses_and_instances_do_not_reach_the_host(attached, join):
    guest, host = attached
    application = join(guest)
    message = {**GOOD, "source_instance": "instance-of-another", "project": "p"}
    application.send_raw(
        json.dumps(
            {
                "version": 2,
                "source_addr": "cgcs.heartbeat",
                "dest_addr": NAME,
                "dest_instance": "x",
                "data": message,
            },
            indent=2,  # its newlines must not break the line on the wire
        ).encode()
        + b"\0"
    )
    assert host.receive_group("broadcast") == GOOD
    assert host.envelope["source_addr"] == NAME


@pytest.mark.parametrize("name", [None, b"\xff\xfe"])
def test_a_sender_that_no_answer_could_reach_is_counted_and_dropped(attached, join, name):
    guest, host = attached
    join(guest, name).send(**GOOD)
    join(guest).send(msg_type="broadcast", data="named")
    assert host.receive_group()["data"] == "named"
    assert guest.status()["group"]["datagrams_no_abstract_name"] == 1


def test_an_application_that_is_not_there_is_counted(attached):
    guest, host = attached
    host.send_group(msg_type="broadcast", source_instance="i", data="x")
    host.challenge(1)
    assert guest.status()["group"]["datagrams_lost_application_absent"] == 1


def test_an_application_that_reads_late_gets_the_newest_and_the_rest_is_counted(attached, join):
    guest, host = attached
    application = join(guest)
    for number in range(300):
        host.send_group(msg_type="broadcast", source_instance="i", data=str(number))
    host.challenge(1)
    heard = []
    while not heard or heard[-1] != 299:
        heard.append(int(application.receive()["data"]))
    assert heard == sorted(heard)
    assert len(heard) >= 64
    lost = guest.status()["group"]["datagrams_lost_application_slow"]
    assert lost + len(heard) == 300


def test_an_application_that_never_reads_harms_nobody_and_gets_no_stale_burst(attached, join):
    guest, host = attached
    application = join(guest)
    for number in range(2000):
        host.send_group(msg_type="broadcast", source_instance="i", data=f"{number} {'x' * 3000}")
        if number % 100 == 0:
            host.challenge(number)
    before_s = guest.cpu_s()
    deadline = time.monotonic() + 2.5
    while time.monotonic() < deadline:
        host.challenge(5)
        time.sleep(0.1)
    assert guest.cpu_s() - before_s < 0.3
    heard = []
    while not application.has_nothing(heard):
        pass
    assert len(heard) <= 30  # what the kernel held, and nothing that is older than two seconds
    assert guest.rss_kib() < 18 * 1024


def test_a_flood_of_an_application_leaves_the_heartbeat_alone(attached, join):
    guest, host = attached
    application = join(guest)
    for number in range(100):
        for _ in range(30):
            application.send_raw(b"garbage")
        asked_at = time.monotonic()
        host.challenge(number)
        assert time.monotonic() - asked_at < 0.5
    assert len(guest.log.splitlines()) < 40


def test_without_a_host_the_application_is_told(start_guest, join):
    guest = start_guest(own_names=True)
    guest.status()
    application = join(guest)
    for data in (GOOD, {"msg_type": "status_query", "seq": 1}):
        application.send(**data)
        nack = application.receive()
        assert (nack["orig_msg_type"], nack["log_msg"]) == (
            data["msg_type"],
            "no host is connected",
        )


def test_a_name_that_is_taken_stops_nothing_and_is_waited_for(start_guest, attach, tmp_path):
    first = start_guest(own_names=True)
    attach().register()
    second = start_guest(f"unix://{tmp_path}/other.sock", names_of=first)
    second.wait_log("datagram door @cgcs.messaging: Address already in use")
    host = attach(tmp_path / "other.sock")
    host.register()
    assert host.challenge(1)["heartbeat_health"] == "healthy"
    first.stop()
    second.wait_log("datagram door @cgcs.messaging: open")
