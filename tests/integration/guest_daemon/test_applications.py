"""Applications at the door, as they and the host see it."""

import json
import socket
import stat
import time

import pytest


class Application:
    def __init__(self, path):
        self._peer = socket.socket(socket.AF_UNIX)
        self._peer.settimeout(5)
        self._peer.connect(str(path))
        self._answers = self._peer.makefile("rb")

    def ask(self, **request):
        return self.ask_raw(json.dumps(request).encode())

    def ask_raw(self, line):
        self._peer.sendall(line + b"\n")
        return self.answer()

    def send_raw(self, data):
        self._peer.sendall(data)

    def answer(self):
        return json.loads(self._answers.readline())

    def close(self):
        self._answers.close()
        self._peer.close()


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


@pytest.fixture
def attached(start_guest, attach):
    """A daemon and its host, registered."""
    guest = start_guest()
    host = attach()
    host.register()
    return guest, host


def unhealthy(answer):
    return answer["heartbeat_health"] == "unhealthy"


def healthy(answer):
    return answer["heartbeat_health"] == "healthy"


def test_an_applications_word_is_in_the_very_next_answer(attached, connect):
    guest, host = attached
    application = connect(guest)
    assert application.ask(op="register", name="billing", interval_ms=60_000) == {"ok": True}
    assert healthy(host.challenge(1))
    assert application.ask(op="beat", healthy=False, log_msg="queue stuck") == {"ok": True}
    answer = host.challenge(2)
    assert (answer["heartbeat_health"], answer["log_msg"]) == (
        "unhealthy",
        "application billing: queue stuck",
    )
    assert application.ask(op="beat", healthy=True) == {"ok": True}
    assert healthy(host.challenge(3))


def test_an_application_that_misses_two_intervals_is_unhealthy_until_it_beats(attached, connect):
    guest, host = attached
    application = connect(guest)
    application.ask(op="register", name="billing", interval_ms=200)
    for _ in range(6):
        time.sleep(0.1)
        application.ask(op="beat")
        assert healthy(host.challenge(1))
    answer = host.challenge_until(unhealthy, timeout_s=2)
    assert answer["log_msg"] == "application billing: no beat for 400 ms"
    application.ask(op="beat")
    assert healthy(host.challenge(9))


def test_being_cut_off_is_unhealthy_and_registering_again_heals(attached, connect):
    guest, host = attached
    application = connect(guest)
    application.ask(op="register", name="billing", interval_ms=1000)
    application.close()
    answer = host.challenge_until(unhealthy, timeout_s=2)
    assert answer["log_msg"] == "application billing: disconnected without leaving"
    connect(guest).ask(op="register", name="billing", interval_ms=1000)
    assert healthy(host.challenge(5))


def test_leaving_is_no_fault(attached, connect):
    guest, host = attached
    application = connect(guest)
    application.ask(op="register", name="billing", interval_ms=100)
    assert application.ask(op="leave") == {"ok": True}
    application.close()
    time.sleep(0.4)
    assert healthy(host.challenge(1))
    assert guest.status()["applications"] == []


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"hello", "JSON is malformed"),
        (b"\xff\xff", "JSON is malformed"),
        (b"[]", "Expected `object`"),
        (b'{"a":' + b"[" * 30000, "recursion"),
        (b"{}", "missing required field `op`"),
        (b'{"op":"dance"}', "no operation 'dance'; allowed: register, beat, leave, status, check"),
        (b'{"op":"register","name":"x"}', "missing required field `interval_ms`"),
        (b'{"op":"register","name":"x","interval_ms":0}', "`$.interval_ms`"),
        (b'{"op":"register","name":"","interval_ms":100}', "`$.name`"),
        (b'{"op":"register","name":"x","interval_ms":100,"colour":1}', "unknown field `colour`"),
        (b'{"op":"beat"}', "not registered"),
        (b'{"op":"beat","healthy":"yes"}', "`$.healthy`"),
        (b"x" * 70_000, "longer than 65536 bytes"),
    ],
)
def test_a_bad_line_gets_an_error_and_costs_only_itself(attached, connect, line, error):
    guest, host = attached
    application = connect(guest)
    answer = application.ask_raw(line)
    assert answer["ok"] is False
    assert error.lower() in answer["error"].lower()
    assert application.ask(op="register", name="x", interval_ms=1000) == {"ok": True}
    assert healthy(host.challenge(1))


def test_one_name_belongs_to_one_connection(attached, connect):
    guest, _host = attached
    connect(guest).ask(op="register", name="x", interval_ms=1000)
    answer = connect(guest).ask(op="register", name="x", interval_ms=1000)
    assert answer == {"ok": False, "error": "another connection has registered 'x'"}


def test_an_application_that_never_reads_answers_harms_nobody(attached, connect):
    guest, host = attached
    rude = connect(guest)
    rude.send_raw(b'{"op":"register","name":"rude","interval_ms":60000}\n')
    for _ in range(40):
        rude.send_raw(b'{"op":"beat"}\n' * 1000)
    rude.send_raw(b'{"op":"beat","healthy":false,"log_msg":"still heard"}\n')
    answer = host.challenge_until(unhealthy, timeout_s=5)
    assert answer["log_msg"] == "application rude: still heard"
    assert guest.rss_kib() < 24 * 1024


def test_more_connections_than_allowed_wait_and_harm_nobody(attached, connect):
    guest, host = attached
    crowd = [connect(guest) for _ in range(64)]
    crowd[0].ask(op="register", name="first", interval_ms=60_000)
    assert crowd[63].ask(op="status")["ok"]
    late = connect(guest)
    late.send_raw(b'{"op":"status"}\n')
    assert healthy(host.challenge(1))
    before_s = guest.cpu_s()
    time.sleep(0.5)
    assert guest.cpu_s() - before_s < 0.1
    crowd[5].close()
    assert late.answer()["ok"]


def test_the_door_is_for_root_and_its_group(attached, connect):
    guest, _host = attached
    connect(guest)
    assert stat.S_IMODE(guest.door_path.stat().st_mode) == 0o660


def test_status_shows_what_an_operator_asks_for(attached, connect):
    guest, host = attached
    connect(guest).ask(op="register", name="billing", interval_ms=60_000)
    host.challenge(1)
    text = guest.ask("status").stdout
    for piece in ("port.sock (mux)", "host connected", "200 ms", "1 challenges", "healthy"):
        assert piece in text
    assert "billing" in text
    status = guest.status()
    assert status["registered"] is True
    assert status["answered"] == 1
    assert status["base_version"] == 1


def test_check_runs_every_check_through_the_daemon(start_guest, tmp_path, wait_until):
    flag = tmp_path / "flag"
    guest = start_guest(
        settings=f'[[health_check]]\nname = "db"\ncommand = ["/usr/bin/test", "-e", "{flag}"]\n'
        "interval_s = 3600\n"
    )
    wait_until(guest.door_path.exists)
    result = guest.ask("check")
    assert (result.returncode, result.stderr) == (1, "")
    assert "unhealthy: check db: exit status 1" in result.stdout
    flag.touch()
    assert guest.ask("check").returncode == 0
    assert json.loads(guest.ask("check", "--json").stdout)["checks"][0]["healthy"] is True


def test_status_without_a_daemon_is_one_line_and_1(start_guest):
    guest = start_guest()
    guest.stop()
    result = guest.ask("status")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"reachthru-guest: {guest.door_path}: no reachthru-guest is running here\n"
    )


def test_a_door_that_cannot_be_opened_stops_no_heartbeat(start_guest, attach, tmp_path):
    (tmp_path / "door.sock").write_text("a file")
    guest = start_guest()
    host = attach()
    host.register()
    assert healthy(host.challenge(1))
    guest.wait_log("there is a file here that is no socket")
    (tmp_path / "door.sock").unlink()
    guest.wait_log("door.sock: open", timeout_s=4)


def test_a_second_daemon_leaves_the_first_ones_door_alone(start_guest, attach, tmp_path):
    first = start_guest()
    attach().register()
    second = start_guest(f"unix://{tmp_path}/other.sock")
    second.wait_log("another process listens here")
    assert first.status()["port"].endswith("port.sock")
