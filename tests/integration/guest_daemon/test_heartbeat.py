"""The daemon as a process, against a host that was written from the wire contract alone."""

import json
import os
import pty
import signal
import socket
import time
import tty

import pytest


@pytest.mark.parametrize(
    ("dialect", "base_version"), [("mux", 1), ("mux", 2), ("bare", None)], ids=str
)
def test_a_host_by_the_book_is_answered(start_guest, attach, dialect, base_version):
    start_guest(dialect=dialect, interval_ms=250)
    host = attach(dialect=dialect, base_version=base_version)
    init = host.register()
    assert init["heartbeat_interval_ms"] == 250
    assert init["corrective_action"] == "log"
    assert init["name"] == os.uname().nodename[:64]
    for number in (0, 1, 2**31 - 2):
        answer = host.challenge(number)
        assert answer["heartbeat_health"] == "healthy"
        assert answer["log_msg"] == ""
        if dialect == "mux":
            assert host.envelope["version"] == base_version
            assert host.envelope["source_addr"] == "cgcs.heartbeat"
            assert host.envelope["dest_addr"] == "cgcs.heartbeat"


def test_data_as_a_string_is_accepted(start_guest, attach):
    start_guest()
    host = attach()
    init = host.receive_type("init")
    data = {"version": 3, "revision": 1, "sequence": 1, "msg_type": "init_ack"}
    envelope = {"version": 2, "source_addr": "cgcs.heartbeat", "dest_addr": "cgcs.heartbeat"}
    text = json.dumps({**data, "invocation_id": init["invocation_id"]})
    host.send_raw(json.dumps({**envelope, "data": text}).encode() + b"\n")
    assert host.challenge(7)["heartbeat_response"] == 7


def test_init_is_repeated_until_it_is_acknowledged(start_guest, attach):
    start_guest()
    host = attach()
    first, second = host.receive(), host.receive()
    assert (first["msg_type"], second["msg_type"]) == ("init", "init")
    assert first["sequence"] != second["sequence"]


def test_sigterm_says_exit_and_ends_with_0(start_guest, attach):
    guest = start_guest()
    host = attach()
    host.register()
    host.challenge(1)
    started_at = time.monotonic()
    assert guest.stop() == 0
    assert time.monotonic() - started_at < 1
    assert host.receive_type("exit")["log_msg"] == "reachthru-guest stopped by SIGTERM"
    assert host.line() is None
    assert not guest.door_path.exists()


def test_sigterm_ends_at_once_with_a_host_that_does_not_read(start_guest, attach):
    guest = start_guest()
    host = attach()
    host.register()
    flood = host.frame(msg_type="challenge", heartbeat_challenge=1) * 5000
    os.set_blocking(host.fd, False)
    os.write(host.fd, flood[: 200 * 1024])
    guest.wait_log("registered")
    time.sleep(0.3)
    started_at = time.monotonic()
    assert guest.stop() == 0
    assert time.monotonic() - started_at < 1.2


def test_a_host_that_comes_back_gets_a_new_session(start_guest, attach):
    guest = start_guest()
    first = attach()
    invocation_id = first.register()["invocation_id"]
    first.challenge(1)
    first.send_raw(b'{"version":1,"source_addr":"cgcs.hea')  # dies in the middle of a line
    first.close()
    guest.wait_log("the host has left")
    second = attach()
    assert second.register()["invocation_id"] != invocation_id
    assert second.challenge(2)["heartbeat_response"] == 2


def test_a_second_host_waits_for_the_first_to_leave(start_guest, attach):
    start_guest()
    first = attach()
    first.register()
    second = attach()
    assert first.challenge(1)["heartbeat_response"] == 1
    first.close()
    assert second.register()


def test_a_silent_host_is_asked_again(start_guest, attach):
    guest = start_guest()
    host = attach()
    host.register()
    host.challenge(1)
    assert host.receive_type("init", timeout_s=4)
    assert "no challenge for 2 s" in guest.log


def test_as_a_client_it_connects_again_to_a_hypervisor_that_restarts(
    start_guest, wrap_host, tmp_path
):
    path = tmp_path / "port.sock"
    for number in range(2):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(5)
        if number == 0:
            guest = start_guest()
        peer, _ = listener.accept()
        host = wrap_host(peer.detach())
        host.register()
        assert host.challenge(number)["heartbeat_response"] == number
        host.close()
        listener.close()
        path.unlink()
        guest.wait_log("port.sock: ")
        time.sleep(0.3)  # it must not take the place of the hypervisor in the meantime
        assert not path.exists()


def test_a_stale_socket_file_is_replaced(start_guest, attach, tmp_path):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "port.sock"))
    stale.close()
    start_guest()
    assert attach().register()


def test_over_a_serial_line(start_guest, wrap_host):
    host_fd, guest_fd = pty.openpty()
    tty.setraw(host_fd)
    guest = start_guest(f"serial://{os.ttyname(guest_fd)}?baudrate=115200", dialect="bare")
    host = wrap_host(host_fd, dialect="bare")
    host.register()
    os.close(guest_fd)
    assert host.challenge(5)["heartbeat_response"] == 5
    assert "a serial line shows no host" in guest.status()["port_state"]
    assert guest.stop() == 0
    assert host.receive_type("exit")
    host.close()


def test_a_serial_line_that_vanishes_is_said_once_and_tried_again(start_guest, wrap_host):
    host_fd, guest_fd = pty.openpty()
    tty.setraw(host_fd)
    guest = start_guest(f"serial://{os.ttyname(guest_fd)}", dialect="bare")
    host = wrap_host(host_fd, dialect="bare")
    host.register()
    os.close(guest_fd)
    host.close()
    guest.wait_log("trying again")
    time.sleep(1)
    assert guest.process.poll() is None
    assert guest.log.count("trying again") <= 2  # the end of the line, then why it can't be opened


def test_a_missing_device_is_said_once_and_found_when_it_is_there(start_guest, tmp_path):
    path = tmp_path / "virtio-port"
    guest = start_guest(f"virtio://{path}")
    guest.wait_log("No such file or directory; trying again")
    time.sleep(1.5)
    assert guest.log.count("No such file") == 1
    assert guest.process.poll() is None
    host_fd, guest_fd = pty.openpty()  # a character device is all that it asks for
    path.symlink_to(os.ttyname(guest_fd))
    guest.wait_log(f"virtio://{path}: open", timeout_s=4)
    os.close(guest_fd)
    os.close(host_fd)


def test_a_port_that_is_no_device_is_said(start_guest, tmp_path):
    (tmp_path / "file").touch()
    guest = start_guest(f"virtio://{tmp_path}/file")
    guest.wait_log("not a character device")
    assert guest.process.poll() is None


def test_a_stopped_and_continued_daemon_goes_on(start_guest, attach):
    guest = start_guest()
    host = attach()
    host.register()
    host.challenge(1)
    guest.process.send_signal(signal.SIGSTOP)
    for number in range(2, 12):
        host.send(msg_type="challenge", heartbeat_challenge=number)
        time.sleep(0.2)
    guest.process.send_signal(signal.SIGCONT)
    assert host.challenge(12)["heartbeat_response"] == 12
    assert "registering anew" not in guest.log  # the challenges were there, only not read


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_by_signal_with_no_host_at_all(start_guest, tmp_path, signal_number):
    guest = start_guest(f"virtio://{tmp_path}/nothing")
    guest.wait_log("trying again")
    guest.process.send_signal(signal_number)
    assert guest.process.wait(2) == 0


def test_systemd_is_told(start_guest, attach, tmp_path, monkeypatch, wait_until):
    notified = []
    door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    door.bind(str(tmp_path / "notify"))
    door.settimeout(5)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    guest = start_guest()
    host = attach()
    host.register()
    host.challenge(1)

    def heard(text):
        while not any(text in word for word in notified):
            notified.append(door.recv(4096).decode())
        return True

    assert heard("READY=1") and heard("STATUS=host connected, registered; healthy")
    notified.clear()
    assert heard("WATCHDOG=1")
    guest.stop()
    assert heard("STOPPING=1")
    door.close()
