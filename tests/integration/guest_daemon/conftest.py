"""Real daemons, and a host written from the wire contract alone: plain json, no code of ours."""

import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest


class Guest:
    """A `reachthru-guest run` of its own, with settings as TOML text."""

    def __init__(
        self,
        folder,
        port,
        settings="",
        *,
        dialect="mux",
        interval_ms=200,
        own_names=False,
        names_of=None,
    ):
        self.folder = folder
        # Abstract socket names belong to a network namespace; other tests' daemons have ours.
        self._prefix = ["unshare", "--net"] if own_names else []
        if names_of is not None:
            self._prefix = ["nsenter", f"--net=/proc/{names_of.process.pid}/ns/net"]
        self.door_path = folder / "door.sock"
        self.config = folder / "guest.toml"
        self.config.write_text(
            f'[channel]\nport = "{port}"\ndialect = "{dialect}"\n'
            f"[heartbeat]\ninterval_ms = {interval_ms}\n"
            f'[applications]\nsocket = "{self.door_path}"\n{settings}'
        )
        self._log_path = folder / "guest.log"
        self.started_at = time.monotonic()
        with self._log_path.open("wb") as log:
            self.process = subprocess.Popen([*self._prefix, *self.command("run")], stderr=log)

    def command(self, name, *more):
        module = [sys.executable, "-m", "reachthru.guest_daemon", name]
        return [*module, "--config", str(self.config), *more]

    def ask(self, name, *more, text=True, given=None):
        """The command line beside the daemon, with `given` as its standard input."""
        return subprocess.run(
            self.command(name, *more),
            capture_output=True,
            text=text,
            input=given,
            timeout=20,
            check=False,
        )

    def status(self):
        until(self.door_path.exists)
        return json.loads(self.ask("status", "--json").stdout)

    @property
    def log(self):
        return self._log_path.read_text()

    def wait_log(self, text, timeout_s=5):
        until(lambda: text in self.log, timeout_s, lambda: f"no {text!r} in:\n{self.log}")

    def cpu_s(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_kib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(5)

    def kill(self):
        """Asks first, so that it takes its checks with it."""
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)


class Host:
    """The other end of a port: whole lines, one at a time, in either dialect."""

    def __init__(self, fd, dialect="mux", base_version=1):
        self.fd = fd
        self.dialect = dialect
        self.base_version = base_version
        self.envelope = None  # of the message read last
        self._received = b""
        self._sequence = 0

    def send(self, **fields):
        self.send_raw(self.frame(**fields))

    def frame(self, **fields):
        self._sequence += 1
        message = {"version": 3, "revision": 1, "sequence": self._sequence, **fields}
        if self.dialect == "mux":
            message = {
                "version": self.base_version,
                "source_addr": "cgcs.heartbeat",
                "dest_addr": "cgcs.heartbeat",
                "data": message,
            }
        return b"\n" + json.dumps(message).encode() + b"\n"

    def send_raw(self, data):
        while data:
            data = data[os.write(self.fd, data) :]

    def line(self, timeout_s=5):
        """The next line that is not empty; None at the end of the stream."""
        deadline = time.monotonic() + timeout_s
        while True:
            while b"\n" in self._received:
                line, _, self._received = self._received.partition(b"\n")
                if line.strip():
                    return line
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([self.fd], [], [], left_s)[0]:
                raise TimeoutError(f"nothing from the guest in {timeout_s} s")
            try:
                data = os.read(self.fd, 65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self._received += data

    def receive(self, timeout_s=5):
        message = json.loads(self.line(timeout_s))
        if self.dialect == "mux":
            self.envelope = message
            message = message["data"]
        assert (message["version"], message["revision"]) == (3, 1)
        return message

    def send_group(self, dest_addr="cgcs.server_grp", **data):
        message = {
            "version": self.base_version,
            "source_addr": "cgcs.server_grp",
            "dest_addr": dest_addr,
            "data": data,
        }
        self.send_raw(b"\n" + json.dumps(message).encode() + b"\n")

    def receive_group(self, msg_type=None, timeout_s=5):
        """The next server-group message's data; heartbeats are skipped."""
        while True:
            message = json.loads(self.line(timeout_s))
            if message["dest_addr"] == "cgcs.server_grp":
                self.envelope = message
                assert msg_type in (None, message["data"]["msg_type"])
                return message["data"]

    def answer_query(self, members, seq=None):
        """Takes a status query and answers it, as it asks or with another number."""
        query = self.receive_group("status_query")
        seq = query["seq"] if seq is None else seq
        for member in members:
            self.send_group(msg_type="status_response", seq=seq, data=member)
        self.send_group(msg_type="status_response_done", seq=seq)
        return query

    def receive_type(self, msg_type, timeout_s=5):
        """The next message of that type; others are skipped."""
        while (message := self.receive(timeout_s))["msg_type"] != msg_type:
            pass
        return message

    def register(self, timeout_s=5):
        """Takes an init and acknowledges it."""
        init = self.receive_type("init", timeout_s)
        self.send(msg_type="init_ack", invocation_id=init["invocation_id"])
        return init

    def challenge(self, number, timeout_s=5):
        """Sends one and gives its answer."""
        self.send(msg_type="challenge", heartbeat_challenge=number)
        while True:
            answer = self.receive_type("challenge_response", timeout_s)
            if answer["heartbeat_response"] == number:
                return answer

    def challenge_until(self, wanted, timeout_s=10, pace_s=0.05):
        """Challenges until an answer is as wanted; gives that answer."""
        deadline = time.monotonic() + timeout_s
        number = 1000
        while time.monotonic() < deadline:
            number += 1
            answer = self.challenge(number)
            if wanted(answer):
                return answer
            time.sleep(pace_s)
        raise TimeoutError(f"the last answer was {answer}")

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


def until(condition, timeout_s=5, explain=lambda: "not in time"):
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(explain())
        time.sleep(0.01)


def connect(path, timeout_s=5):
    """A connected descriptor, as the host agent gets from QEMU's socket."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def connected():
        try:
            peer.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    until(connected, timeout_s)
    return peer.detach()


@pytest.fixture
def start_guest(tmp_path):
    """Starts daemons; kills what is left of them."""
    guests = []

    def start(port=None, settings="", **options):
        guest = Guest(tmp_path, port or f"unix://{tmp_path}/port.sock", settings, **options)
        guests.append(guest)
        return guest

    yield start
    for guest in guests:
        guest.kill()


@pytest.fixture
def attach(tmp_path):
    """Connects hosts to `port.sock`; closes them."""
    hosts = []

    def connect_host(path=None, **options):
        host = Host(connect(path or tmp_path / "port.sock"), **options)
        hosts.append(host)
        return host

    yield connect_host
    for host in hosts:
        host.close()


@pytest.fixture
def wrap_host():
    """A host on a descriptor that the test has made."""
    return Host


@pytest.fixture
def wait_until():
    return until
