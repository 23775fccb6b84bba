"""The lab's door from the host's side, with a guest played by a thread."""

import base64
import socket
import subprocess
import threading

import pytest

from reachthru.demo.door import DoorError, LabDoor


@pytest.fixture
def guest(tmp_path):
    """Answers like `guest_files/door`; `guest.stray` goes out before each answer."""

    class Guest:
        path = tmp_path / "lab.sock"
        stray = b""
        silent = False

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(Guest.path))
    listener.listen()

    def serve():
        try:
            peer, _address = listener.accept()
        except OSError:
            return
        with peer, peer.makefile("rwb") as stream:
            for line in stream:
                if not line.strip() or Guest.silent:
                    continue
                number, command = line.split()
                done = subprocess.run(
                    ["sh", "-c", base64.b64decode(command)], capture_output=True, check=False
                )
                head = b"%s %d %d\n" % (number, done.returncode, len(done.stdout))
                stream.write(Guest.stray + head + done.stdout)
                stream.flush()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield Guest
    listener.close()


@pytest.fixture
def door(guest):
    door = LabDoor(guest.path)
    yield door
    door.close()


def test_a_commands_output_and_exit_code_come_back(door):
    result = door.run("echo 'two\nlines'; exit 3")
    assert (result.exit_code, result.output) == (3, "two\nlines\n")


def test_an_answer_to_an_older_command_is_dropped(door, guest):
    guest.stray = b"99 0 6\nstale\n"
    assert door.run("echo fresh").output == "fresh\n"


def test_a_silent_guest_is_an_error_that_names_the_command(door, guest):
    guest.silent = True
    with pytest.raises(DoorError, match=r"no answer to 'uptime' within 0\.1 s"):
        door.run("uptime", timeout_s=0.1)


def test_a_door_without_a_machine_is_an_error(tmp_path):
    with pytest.raises(DoorError, match="no answer"):
        LabDoor(tmp_path / "nothing.sock").run("true", timeout_s=0.1)
