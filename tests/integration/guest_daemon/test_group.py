"""Server-group messaging at our own door and on the command line, as applications see it."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Several scripts, both directions, four-byte characters, joiners; no newline and no NUL.
TEXT = "Grüße, Приве́т, 你好, こんにちは, שלום, नमस्ते, 안녕, 👩‍🚀 e\u0301"
CONTROLS = "".join(map(chr, [*range(1, 10), *range(11, 32), 0x7F, 0x80, 0x9F])) + '"\\/'


class Application:
    """A connection to the door, with plain json."""

    def __init__(self, path):
        self.peer = socket.socket(socket.AF_UNIX)
        self.peer.settimeout(5)
        self.peer.connect(str(path))
        self._lines = self.peer.makefile("rb")

    def send(self, **request):
        self.peer.sendall(json.dumps(request).encode() + b"\n")

    def read(self):
        return json.loads(self._lines.readline())

    def ask(self, **request):
        self.send(**request)
        return self.read()

    def close(self):
        self._lines.close()
        self.peer.close()


@pytest.fixture
def connect(wait_until):
    applications = []

    def make(guest):
        wait_until(guest.door_path.exists)
        applications.append(Application(guest.door_path))
        return applications[-1]

    yield make
    for application in applications:
        application.close()


@pytest.fixture(params=[1, 2], ids=["base1", "base2"])
def attached(request, start_guest, attach):
    guest = start_guest()
    host = attach(base_version=request.param)
    host.register()
    return guest, host


@pytest.fixture
def run_aside():
    """Starts a command beside the daemon; kills what is left of them."""
    started = []

    def run(guest, *command, **options):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        started.append(subprocess.Popen(guest.command(*command), text=True, **pipes))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "text", ["x" * 3050, "é" * 1525, "你" * 1016 + "ab", TEXT, CONTROLS, "", " "], ids=range(7)
)
def test_a_broadcast_reaches_the_host_byte_for_byte(attached, connect, text):
    guest, host = attached
    assert connect(guest).ask(op="broadcast", data=text)["ok"] is True
    message = host.receive_group("broadcast")
    assert message == {"msg_type": "broadcast", "data": text}
    assert host.envelope["source_addr"] == host.envelope["dest_addr"] == "cgcs.server_grp"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("x" * 3051, "3051 bytes of UTF-8, 3050 allowed"),
        ("é" * 1526, "3052 bytes of UTF-8, 3050 allowed"),
        ("a\nb", "newline and NUL are not allowed"),
        ("a\0b", "newline and NUL are not allowed"),
    ],
)
def test_what_cant_be_broadcast_is_refused_at_once_and_never_sent(attached, connect, text, error):
    guest, host = attached
    application = connect(guest)
    answer = application.ask(op="broadcast", data=text)
    assert answer["ok"] is False
    assert error in answer["error"]
    assert application.ask(op="broadcast", data="next")["ok"] is True
    assert host.receive_group("broadcast")["data"] == "next"


@pytest.mark.parametrize("text", ["x" * 3050, TEXT, CONTROLS], ids=["long", "scripts", "controls"])
def test_every_listener_hears_a_broadcast_exactly(attached, connect, text):
    guest, host = attached
    listeners = [connect(guest) for _ in range(3)]
    quiet = connect(guest)
    assert guest.status()["group_is_heard"] is False
    for listener in listeners:
        assert listener.ask(op="listen") == {"ok": True}
    assert guest.status()["group_is_heard"] is True
    host.send_group(msg_type="broadcast", source_instance="instance-00000007", data=text)
    for listener in listeners:
        assert listener.read() == {
            "event": "broadcast",
            "source_instance": "instance-00000007",
            "data": text,
        }
    assert quiet.ask(op="status")["ok"]  # and nothing before it


def test_notifications_of_both_versions_look_alike(attached, connect):
    guest, host = attached
    listener = connect(guest)
    listener.ask(op="listen")
    status = {"instance_id": "i-2", "state": "stopped", "metadata": {"a": [1, None]}}
    host.send_group(msg_type="notification", data=status)
    words = {"event_type": "compute.instance.power_off.end", "priority": "INFO", "timestamp": "t"}
    host.send_group(msg_type="notification", data={**words, "payload": status})
    nothing = dict.fromkeys(words)
    assert listener.read() == {"event": "notification", **nothing, "status": status}
    assert listener.read() == {"event": "notification", **words, "status": status}


def test_a_guest_that_listens_asks_for_the_notifications_of_version_2(attached, connect):
    guest, host = attached
    connect(guest).ask(op="listen")
    host.challenge(1)
    assert host.envelope["version"] == 2


def test_members_are_one_answer(attached, connect):
    guest, host = attached
    application = connect(guest)
    application.send(op="members")
    members = [{"instance_id": f"i-{n}", "state": "active", "metadata": {}} for n in range(30)]
    host.answer_query(members)
    assert application.read() == {"ok": True, "members": members, "complete": True}


def test_members_of_a_big_group_are_one_answer_too(attached, connect):
    guest, host = attached
    application = connect(guest)
    application.send(op="members")
    members = [{"instance_id": f"i-{n}", "metadata": "m" * 3800} for n in range(100)]
    host.answer_query(members)
    assert application.read()["members"] == members


def test_a_newer_query_of_another_application_does_not_cancel_an_older_one(attached, connect):
    guest, host = attached
    first, second, third = (connect(guest) for _ in range(3))
    first.send(op="members")
    query = host.receive_group("status_query")
    second.send(op="members")
    third.send(op="members")
    host.send_group(msg_type="status_response", seq=query["seq"], data={"instance_id": "old"})
    host.challenge(1)  # no other query has come meanwhile
    host.send_group(msg_type="status_response_done", seq=query["seq"])
    assert first.read()["members"] == [{"instance_id": "old"}]
    newer = host.answer_query([{"instance_id": "new"}])
    assert newer["seq"] != query["seq"]
    assert second.read()["members"] == third.read()["members"] == [{"instance_id": "new"}]


def test_a_host_that_does_not_answer_a_query_costs_two_seconds(attached, connect):
    guest, host = attached
    application = connect(guest)
    asked_at = time.monotonic()
    answer = application.ask(op="members")
    assert 1.8 < time.monotonic() - asked_at < 3
    assert answer == {"ok": False, "error": "no answer from the host within 2 s"}
    late = host.receive_group("status_query")["seq"]
    application.send(op="members")
    host.send_group(msg_type="status_response", seq=late, data={"instance_id": "late"})
    host.answer_query([{"instance_id": "right"}])
    assert application.read()["members"] == [{"instance_id": "right"}]


def test_half_an_answer_is_told_as_such(attached, connect):
    guest, host = attached
    application = connect(guest)
    application.send(op="members")
    seq = host.receive_group("status_query")["seq"]
    host.send_group(msg_type="status_response", seq=seq, data={"instance_id": "a"})
    answer = application.read()
    assert (answer["members"], answer["complete"]) == ([{"instance_id": "a"}], False)
    assert "no answer from the host" in answer["error"]


def test_a_refused_query_is_an_error(attached, connect):
    guest, host = attached
    application = connect(guest)
    application.send(op="members")
    host.receive_group("status_query")
    host.send_group(msg_type="nack", orig_msg_type="status_query", log_msg="controller unavailable")
    assert application.read() == {"ok": False, "error": "controller unavailable"}


def test_a_refusal_reaches_the_application_whose_broadcast_it_was(attached, connect):
    guest, host = attached
    sender, other, listener = (connect(guest) for _ in range(3))
    listener.ask(op="listen")
    number = sender.ask(op="broadcast", data="hello")["id"]
    host.receive_group("broadcast")
    host.send_group(msg_type="nack", orig_msg_type="broadcast", log_msg="no server group")
    assert sender.read() == {
        "event": "refused",
        "orig_msg_type": "broadcast",
        "id": number,
        "log_msg": "no server group",
    }
    host.challenge(1)
    assert other.ask(op="leave") == {"ok": True}
    assert listener.ask(op="leave") == {"ok": True}


def test_a_refusal_that_is_nobodys_reaches_all_listeners(attached, connect):
    guest, host = attached
    listeners = [connect(guest) for _ in range(2)]
    for listener in listeners:
        listener.ask(op="listen")
    host.send_group(msg_type="nack", orig_msg_type="broadcast", log_msg="too\nlate\x1b[2J")
    for listener in listeners:
        event = listener.read()
        assert (event["event"], event["id"]) == ("refused", None)
        assert event["log_msg"] == "too late [2J"


def test_a_listener_that_does_not_read_loses_the_oldest_and_is_told(attached, connect):
    guest, host = attached
    slow, quick = connect(guest), connect(guest)
    slow.peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.ask(op="listen")
    quick.ask(op="listen")
    for number in range(1000):
        text = f"{number} {'x' * 3000}"
        host.send_group(msg_type="broadcast", source_instance="i-1", data=text)
        assert quick.read()["data"] == text
    heard = []
    while not heard or not str(heard[-1].get("data")).startswith("999 "):
        heard.append(slow.read())
    numbers = [int(event["data"].split()[0]) for event in heard if event["event"] == "broadcast"]
    dropped = sum(event["count"] for event in heard if event["event"] == "dropped")
    assert numbers == sorted(numbers)
    assert len(numbers) + dropped == 1000
    assert dropped > 500
    assert numbers[-64:] == list(range(936, 1000))
    assert guest.rss_kib() < 20 * 1024


@pytest.mark.parametrize("request_", [{"op": "broadcast", "data": "x"}, {"op": "members"}])
def test_without_a_host_it_is_an_error_at_once(start_guest, connect, request_):
    guest = start_guest()
    asked_at = time.monotonic()
    answer = connect(guest).ask(**request_)
    assert answer == {"ok": False, "error": "no host is connected"}
    assert time.monotonic() - asked_at < 1


def test_a_bare_port_carries_no_group(start_guest, attach, connect):
    guest = start_guest(dialect="bare")
    attach(dialect="bare").register()
    answer = connect(guest).ask(op="broadcast", data="x")
    assert answer == {"ok": False, "error": "no host is connected"}


def test_a_host_that_leaves_during_a_query_is_said_at_once(attached, connect):
    guest, host = attached
    application = connect(guest)
    application.send(op="members")
    host.receive_group("status_query")
    left_at = time.monotonic()
    host.close()
    assert application.read() == {"ok": False, "error": "the host has left"}
    assert time.monotonic() - left_at < 1


def test_a_host_that_does_not_read_is_told_to_the_sender_and_gets_no_stale_burst(attached, connect):
    guest, host = attached
    application = connect(guest)
    answers = []
    for number in range(400):
        answer = application.ask(op="broadcast", data=f"{number} {'x' * 3000}")
        answers.append(answer)
        if not answer["ok"]:
            break
    assert "the host does not read" in answers[-1]["error"]
    refused = [application.read() for _ in range(64)]  # by age
    assert {event["log_msg"] for event in refused} == {"the host did not read it within 2 s"}
    sent = len(answers) - 1 - 64
    for number in range(sent):
        assert host.receive_group("broadcast")["data"].startswith(f"{number} ")
    assert application.ask(op="broadcast", data="fresh")["ok"] is True
    assert host.receive_group("broadcast")["data"] == "fresh"


def test_a_flood_of_the_hosts_delays_no_heartbeat_and_stays_small(attached, connect):
    guest, host = attached
    listener = connect(guest)
    listener.ask(op="listen")
    before_kib = guest.rss_kib()
    for number in range(200):
        for _ in range(20):
            host.send_group(msg_type="broadcast", source_instance="i-1", data="x" * 1000)
            host.send_group(msg_type="status_response", seq=5, data={"a": "b" * 1000})
            host.send_group(msg_type="nack", orig_msg_type="unknown", log_msg="n" * 5000)
        asked_at = time.monotonic()
        host.challenge(number)
        assert time.monotonic() - asked_at < 1
    assert guest.rss_kib() < before_kib + 6 * 1024
    assert len(guest.log.splitlines()) < 60


@pytest.mark.parametrize(
    "data",
    [
        {"msg_type": "broadcast", "source_instance": "i", "data": 5},
        {"msg_type": "broadcast", "source_instance": "i"},
        {"msg_type": "status_response", "seq": -1, "data": {}},
        {"msg_type": "status_response", "seq": 1, "data": []},
        {"msg_type": "notification", "data": "x"},
        {"msg_type": "status_query", "seq": 1},
        {"msg_type": "dance"},
        {},
    ],
)
def test_a_bad_group_message_of_the_hosts_costs_only_itself(attached, connect, data):
    guest, host = attached
    listener = connect(guest)
    listener.ask(op="listen")
    host.send_group(**data)
    host.send_group(msg_type="broadcast", source_instance="i", data="good")
    assert listener.read()["data"] == "good"
    host.challenge(1)


def test_status_counts_what_was_sent_received_and_lost(attached, connect):
    guest, host = attached
    application = connect(guest)
    application.ask(op="broadcast", data="x")
    host.receive_group("broadcast")
    host.send_group(msg_type="broadcast", source_instance="i", data="y")
    host.send_group(msg_type="status_response", seq=9, data={})
    host.challenge(1)
    counts = guest.status()["group"]
    assert (counts["broadcasts_sent"], counts["broadcasts_received"]) == (1, 1)
    assert counts["unasked"] == 1


# --- the command line ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["argument", "stdin"])
def test_the_broadcast_command_sends_and_says_nothing(attached, how):
    guest, host = attached
    if how == "argument":
        result = guest.ask("broadcast", TEXT)
    else:
        result = guest.ask("broadcast", "-", given=TEXT + "\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert host.receive_group("broadcast")["data"] == TEXT


def test_the_broadcast_command_as_json(attached):
    guest, _host = attached
    result = guest.ask("broadcast", "--json", "é")
    assert json.loads(result.stdout) == {"sent": True, "bytes": 2}


def test_a_refusal_is_the_broadcast_commands_error(attached, run_aside):
    guest, host = attached
    command = run_aside(guest, "broadcast", "hello")
    host.receive_group("broadcast")
    host.send_group(msg_type="nack", orig_msg_type="broadcast", log_msg="no server group")
    assert command.wait(5) == 1
    assert command.stderr.read() == "reachthru-guest: refused by the host: no server group\n"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (b"x" * 3051, "more than 3050 bytes"),
        (b"\xff", "not UTF-8: byte 1"),
        (b"a\nb\n", "newline and NUL are not allowed"),
    ],
)
def test_what_standard_input_cant_be_is_one_line_and_1(attached, given, error):
    guest, _host = attached
    result = guest.ask("broadcast", "-", given=given, text=False)
    assert (result.returncode, result.stdout) == (1, b"")
    assert error in result.stderr.decode()
    assert result.stderr.count(b"\n") == 1


@pytest.mark.parametrize("command", [["broadcast", "x"], ["members"], ["listen"]])
def test_the_commands_without_a_daemon_are_one_line_and_1(start_guest, command):
    guest = start_guest()
    guest.stop()
    result = guest.ask(*command)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"reachthru-guest: {guest.door_path}: no reachthru-guest is running here\n"
    )


def test_the_members_command_shows_a_table_or_json(attached, run_aside):
    guest, host = attached
    members = [
        {"instance_id": "i-1", "display_name": "db-1", "hostname": "h1", "state": "active"},
        {"instance_id": "i-2", "display_name": "b\x1b[2Jad", "state": "stopped", "stale": True},
    ]
    command = run_aside(guest, "members")
    host.answer_query(members)
    printed, errors = command.communicate(timeout=5)
    assert (command.returncode, errors) == (0, "")
    head, first, second = printed.splitlines()
    assert head.split() == ["INSTANCE", "NAME", "HOSTNAME", "STATE", "DESCRIPTION"]
    assert first.split() == ["i-1", "db-1", "h1", "active"]
    assert second.split() == ["i-2", "b\\x1b[2Jad", "stopped", "(may", "be", "old)"]
    command = run_aside(guest, "members", "--json")
    host.answer_query(members)
    printed, _errors = command.communicate(timeout=5)
    assert json.loads(printed) == {"members": members, "complete": True}


@pytest.mark.parametrize("as_json", [False, True])
def test_the_listen_command_prints_what_is_said(attached, run_aside, wait_until, as_json):
    guest, host = attached
    more = ["--json"] if as_json else []
    command = run_aside(guest, "listen", "--count", "2", *more)
    until_listening(guest, host)
    host.send_group(msg_type="broadcast", source_instance="i-7", data="你好\x1b]0;x\x07\r\u202e")
    host.send_group(msg_type="notification", data={"display_name": "db", "state": "stopped"})
    printed, errors = command.communicate(timeout=5)
    assert (command.returncode, errors) == (0, "")
    first, second = printed.splitlines()
    if as_json:
        assert json.loads(first)["data"] == "你好\x1b]0;x\x07\r\u202e"
        assert json.loads(second)["status"]["state"] == "stopped"
    else:
        assert first == "i-7: 你好\\x1b]0;x\\x07\\r\\u202e"
        assert second == "* db is stopped"


def until_listening(guest, host):
    """Whether somebody listens shows in the base version that the guest speaks."""
    for number in range(500):
        host.challenge(number)
        if host.envelope["version"] == 2 and host.base_version == 1:
            return
        if host.base_version == 2 and number > 60:
            return
        time.sleep(0.01)
    raise AssertionError("nobody listens")


def test_listen_with_a_timeout_ends_in_time(attached):
    guest, _host = attached
    assert guest.ask("listen", "--timeout", "0.3").returncode == 0
    result = guest.ask("listen", "--timeout", "0.3", "--count", "1")
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "")


def test_listen_ends_when_the_daemon_does(attached, run_aside):
    guest, host = attached
    command = run_aside(guest, "listen")
    until_listening(guest, host)
    guest.stop()
    _printed, errors = command.communicate(timeout=5)
    assert command.returncode == 1
    assert errors.endswith("the daemon closed the connection\n")


def test_a_reader_that_has_enough_is_no_traceback(attached, run_aside):
    guest, host = attached
    command = run_aside(guest, "listen")
    until_listening(guest, host)
    command.stdout.close()
    for _ in range(2):
        host.send_group(msg_type="broadcast", source_instance="i", data="x")
        time.sleep(0.05)
    assert command.wait(5) == 1
    assert command.stderr.read() == ""


# --- the example ---------------------------------------------------------------------------------


def test_the_example_chats_and_beats(attached):
    guest, host = attached
    example = Path(__file__).parents[3] / "examples" / "group_chat.py"
    chat = subprocess.Popen(
        [sys.executable, str(example), str(guest.door_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        host.answer_query([{"display_name": "db-1"}, {"display_name": "db-2"}])
        assert chat.stdout.readline() == "* here: db-1, db-2\n"
        chat.stdin.write("good morning\n")
        chat.stdin.flush()
        assert host.receive_group("broadcast")["data"] == "good morning"
        host.send_group(msg_type="broadcast", source_instance="i-2", data="salut")
        host.send_group(msg_type="nack", orig_msg_type="broadcast", log_msg="too many")
        assert chat.stdout.readline() == "i-2: 'salut'\n"
        assert chat.stdout.readline() == "* not delivered: too many\n"
        (application,) = guest.status()["applications"]
        assert (application["name"], application["healthy"]) == ("group-chat", True)
        _printed, errors = chat.communicate(timeout=5)
        assert (chat.returncode, errors) == (0, "")
        assert guest.status()["applications"] == []
    finally:
        chat.kill()
        chat.wait()
