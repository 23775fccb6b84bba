"""Whatever the host sends costs the line that it is on, and nothing else."""

import json
import os
import time

import pytest

BAD_LINES = {
    "not_json": b"hello",
    "not_utf8": b'{"version":1,"source_addr":"\xff\xfe"}',
    "not_an_object": b"[1,2,3]",
    "nested_deeply": b"[" * 60000,
    "object_nested_deeply": b'{"a":' * 12000 + b"1" + b"}" * 12000,
    "a_huge_number": b'{"version":' + b"9" * 5000 + b"}",
    "a_huge_exponent": b'{"version":1e999999999}',
    "too_long": b"x" * 70000,
    "much_too_long": b"y" * 1_000_000,
    "no_envelope": b"{}",
    "a_null": b"null",
    "an_unknown_application": (
        b'{"version":1,"source_addr":"a","dest_addr":"cgcs.nobody","data":{}}'
    ),
    "base_version_3": (
        b'{"version":3,"source_addr":"cgcs.heartbeat","dest_addr":"cgcs.heartbeat","data":{}}'
    ),
    "data_that_is_text": (
        b'{"version":1,"source_addr":"cgcs.heartbeat","dest_addr":"cgcs.heartbeat","data":"x"}'
    ),
    "an_unknown_message": (
        b'{"version":1,"source_addr":"cgcs.heartbeat","dest_addr":"cgcs.heartbeat",'
        b'"data":{"version":3,"revision":1,"sequence":1,"msg_type":"dance"}}'
    ),
    "a_challenge_below_0": (
        b'{"version":1,"source_addr":"cgcs.heartbeat","dest_addr":"cgcs.heartbeat","data":'
        b'{"version":3,"revision":1,"sequence":1,"msg_type":"challenge","heartbeat_challenge":-1}}'
    ),
    "binary": bytes(range(256)).replace(b"\n", b""),
    "terminal_escapes": b'{"\x1b[2J\\u001b[31m":1}',
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_bad_line_costs_only_itself(start_guest, attach, line):
    guest = start_guest()
    host = attach()
    host.register()
    host.send_raw(line + b"\n" + host.frame(msg_type="challenge", heartbeat_challenge=5))
    assert host.receive_type("challenge_response")["heartbeat_response"] == 5
    status = guest.status()
    assert sum(status["peer_errors"].values()) >= 1
    assert "\x1b" not in guest.log


def test_a_message_in_pieces_and_messages_in_one_piece(start_guest, attach):
    start_guest()
    host = attach()
    host.register()
    for byte in host.frame(msg_type="challenge", heartbeat_challenge=1):
        host.send_raw(bytes([byte]))
    assert host.receive_type("challenge_response")["heartbeat_response"] == 1
    host.send_raw(
        b"".join(host.frame(msg_type="challenge", heartbeat_challenge=n) for n in (2, 3, 4))
    )
    answers = [host.receive_type("challenge_response")["heartbeat_response"] for _ in range(3)]
    assert answers == [2, 3, 4]


def test_a_line_that_was_cut_off_costs_only_itself(start_guest, attach):
    start_guest()
    host = attach()
    host.register()
    cut_off = host.frame(msg_type="challenge", heartbeat_challenge=1)[:60]
    host.send_raw(cut_off + host.frame(msg_type="challenge", heartbeat_challenge=2))
    assert host.receive_type("challenge_response")["heartbeat_response"] == 2


def test_a_flood_starves_neither_checks_nor_applications(start_guest, attach, tmp_path):
    marker = tmp_path / "ran"
    guest = start_guest(
        settings=f'[[health_check]]\nname = "touch"\ncommand = ["/bin/touch", "{marker}"]\n'
        "interval_s = 0.2\n"
    )
    host = attach()
    host.register()
    os.set_blocking(host.fd, False)
    until_s = time.monotonic() + 3
    sent = 0
    asked = 0
    marker.unlink(missing_ok=True)
    while time.monotonic() < until_s:
        try:
            sent += os.write(host.fd, b"{}\n[]\nxx\n" * 1000)
        except BlockingIOError:
            if asked < 2:
                asked += 1
                started_at = time.monotonic()
                assert guest.status()["peer_errors"]
                assert time.monotonic() - started_at < 2
            time.sleep(0.002)
    os.set_blocking(host.fd, True)
    assert sent > 100_000
    assert marker.exists()
    assert guest.log.count("\n") < 60
    assert guest.rss_kib() < 32 * 1024
    host.send_raw(b"\n")
    assert host.challenge(9, timeout_s=10)["heartbeat_response"] == 9


def test_a_host_that_does_not_read_neither_blocks_nor_piles_up(start_guest, attach):
    guest = start_guest()
    host = attach()
    host.register()
    os.set_blocking(host.fd, False)
    number = 0
    answered = 0
    until_s = time.monotonic() + 30
    while time.monotonic() < until_s:  # until the guest can't write any more
        number += 1
        try:
            os.write(host.fd, host.frame(msg_type="challenge", heartbeat_challenge=number))
        except BlockingIOError:
            time.sleep(0.001)
        if number % 500 == 0:
            now_answered = guest.status()["answered"]
            if number > 3000:
                break
            answered = now_answered
    assert answered > 500  # it goes on reading and answers the door
    before_s = guest.cpu_s()
    time.sleep(1)
    assert guest.cpu_s() - before_s < 0.1
    os.set_blocking(host.fd, True)
    host.send(msg_type="challenge", heartbeat_challenge=99_999)
    lines = 0
    while host.receive_type("challenge_response")["heartbeat_response"] != 99_999:
        lines += 1
    assert lines < 3000  # the kernel's buffers, not ours


def test_garbage_from_the_host_is_not_echoed_into_terminals(start_guest, attach):
    guest = start_guest()
    host = attach()
    host.register()
    host.send(msg_type="nack", invocation_id=1, log_msg="\x1b[2Jbad\nline\x07")
    guest.wait_log("refused:")
    assert "\x1b" not in guest.log and "\x07" not in guest.log
    assert json.loads(guest.ask("status", "--json").stdout)["peer_errors"] == {"refused": 1}
