import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reachthru.demo.errors import DemoError
from reachthru.demo.processes import Process


def within(timeout_s, condition):
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def is_running(pid, name):
    """False also for a zombie that nobody has reaped yet."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        found, state = Path(f"/proc/{pid}/stat").read_text().split(" ", 1)[1].split(")")
        return found == f"({name}" and state.split()[0] != "Z"
    return False


def test_leaving_the_block_ends_the_process(tmp_path):
    with Process(["sleep", "100"], tmp_path / "log") as process:
        assert process.exit_code is None
    assert process.exit_code == -signal.SIGTERM


def test_a_stopped_process_ends_too(tmp_path):
    with Process(["sleep", "100"], tmp_path / "log") as process:
        process.send(signal.SIGSTOP)
    assert process.exit_code is not None


def test_a_process_that_ignores_being_asked_is_killed(tmp_path):
    process = Process(["sh", "-c", "trap '' TERM; echo ready; exec sleep 100"], tmp_path / "log")
    while "ready" not in process.log_text():
        time.sleep(0.01)
    process.stop(timeout_s=0.1)
    assert process.exit_code == -signal.SIGKILL


def test_output_is_in_the_log(tmp_path):
    with Process(["sh", "-c", "echo out; echo err >&2"], tmp_path / "log") as process:
        assert process.wait(5) == 0
        assert process.log_text() == "out\nerr\n"


def test_the_process_dies_with_the_one_that_started_it(tmp_path):
    program = (
        "import sys, time; from pathlib import Path\n"
        "from reachthru.demo.processes import Process\n"
        "print(Process(['sleep', '100'], Path(sys.argv[1])).pid, flush=True)\n"
        "time.sleep(100)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "log")], stdout=subprocess.PIPE
    ) as starter:
        child = int(starter.stdout.readline())
        assert within(5, lambda: is_running(child, "sleep"))
        os.kill(starter.pid, signal.SIGKILL)
    assert within(5, lambda: not is_running(child, "sleep"))


def test_a_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DemoError, match="no-such-program is not installed"):
        Process(["no-such-program"], tmp_path / "log")
