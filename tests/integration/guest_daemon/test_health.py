"""Real checks beside a real heartbeat, as the host sees them in the answers."""

import os
import signal
import time
from pathlib import Path

import pytest


@pytest.fixture
def script(tmp_path):
    """Writes an executable shell script and gives its path."""

    def write(text, name="check"):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return write


def check(command, name="db", **more):
    lines = [f"{key} = {value}" for key, value in more.items()]
    return "\n".join(["[[health_check]]", f'name = "{name}"', f"command = {command}", *lines, ""])


def unhealthy(answer):
    return answer["heartbeat_health"] == "unhealthy"


def healthy(answer):
    return answer["heartbeat_health"] == "healthy"


def test_a_check_turns_bad_and_well_again(start_guest, attach, script, tmp_path):
    flag = tmp_path / "down"
    command = script(f"[ ! -e {flag} ] || {{ echo 'disk full'; echo more; exit 3; }}")
    start_guest(settings=check([command], interval_s=0.2))
    host = attach()
    host.register()
    assert healthy(host.challenge(1))
    flag.touch()
    answer = host.challenge_until(unhealthy)
    assert answer["log_msg"] == "check db: disk full"
    assert answer["corrective_action"] == "log"
    flag.unlink()
    assert host.challenge_until(healthy)["log_msg"] == ""


@pytest.mark.parametrize(
    ("text", "log_msg"),
    [
        ("exit 1", "check db: exit status 1"),
        ("echo to stderr >&2; exit 1", "check db: to stderr"),
        ("printf 'no newline'; exit 1", "check db: no newline"),
        ("printf '\\n\\n  late  \\n'; exit 1", "check db: late"),
        ("printf '\\377\\376 bytes'; exit 1", "check db: \ufffd\ufffd bytes"),
        ("kill -9 $$", "check db: killed by signal 9"),
        ("echo said; kill -9 $$", "check db: killed by signal 9"),
        ("head -c 5000 /dev/zero | tr '\\0' x; exit 1", "check db: " + "x" * 214),
    ],
)
def test_what_a_failing_check_says(start_guest, attach, script, text, log_msg):
    start_guest(settings=check([script(text)]))
    host = attach()
    host.register()
    assert host.challenge_until(unhealthy)["log_msg"] == log_msg


@pytest.mark.parametrize(
    ("command", "log_msg"),
    [
        (["/no/such/check"], "check db: can't run /no/such/check: No such file or directory"),
        (["/etc/passwd"], "check db: can't run /etc/passwd: Permission denied"),
        (["/"], "check db: can't run /: Permission denied"),
    ],
)
def test_a_command_that_cannot_run_is_unhealthy(start_guest, attach, command, log_msg):
    start_guest(settings=check(command))
    host = attach()
    host.register()
    assert host.challenge_until(unhealthy)["log_msg"] == log_msg


def test_a_check_over_its_time_is_unhealthy_and_killed_with_its_children(
    start_guest, attach, script, tmp_path, wait_until
):
    pids = tmp_path / "pids"
    text = f"sleep 30 & echo $! > {pids}; echo $$ >> {pids}; wait"
    start_guest(settings=check([script(text)], timeout_s=0.5, interval_s=60))
    host = attach()
    host.register()
    started_at = time.monotonic()
    answer = host.challenge_until(unhealthy)
    assert answer["log_msg"] == "check db: no result within 0.5 s"
    assert time.monotonic() - started_at < 1.5
    for pid in map(int, pids.read_text().split()):
        wait_until(lambda pid=pid: is_gone(pid))


def test_answers_never_wait_for_a_check(start_guest, attach, script):
    settings = "".join(
        check([script("sleep 30")], name=f"slow{number}", timeout_s=1, interval_s=0.1)
        for number in range(10)
    )
    start_guest(settings=settings)
    host = attach()
    host.register()
    worst_s = 0.0
    for number in range(100):
        sent_at = time.monotonic()
        host.challenge(number)
        worst_s = max(worst_s, time.monotonic() - sent_at)
        time.sleep(0.02)
    assert worst_s < 0.5  # a check takes 1 s, and this machine may be busy


def test_a_check_has_no_result_at_first_and_counts_as_healthy(start_guest, attach, script):
    guest = start_guest(settings=check([script("sleep 1; exit 1")]))
    host = attach()
    host.register()
    assert healthy(host.challenge(1))
    assert "no result" in guest.ask("status").stdout
    assert host.challenge_until(unhealthy)


def test_a_check_that_floods_is_bounded(start_guest, attach, script):
    settings = check([script("exec yes flood")], timeout_s=2, interval_s=60)
    guest = start_guest(settings=settings)
    host = attach()
    host.register()
    before_s, since = guest.cpu_s(), time.monotonic()
    answer = host.challenge_until(unhealthy)
    assert answer["log_msg"] == "check db: no result within 2 s"
    assert (guest.cpu_s() - before_s) / (time.monotonic() - since) < 0.25
    assert guest.rss_kib() < 24 * 1024


def test_a_check_with_much_to_say_still_ends(start_guest, attach, script):
    settings = check([script("head -c 1000000 /dev/zero; exit 0")], timeout_s=5)
    guest = start_guest(settings=settings)
    host = attach()
    host.register()
    deadline = time.monotonic() + 5
    while guest.status()["checks"][0]["healthy"] is None:
        assert time.monotonic() < deadline
    assert guest.status()["checks"][0]["healthy"] is True


def test_a_check_whose_child_keeps_the_output_open_ends(start_guest, attach, script):
    command = script("sleep 30 &\necho bad; exit 1")
    start_guest(settings=check([command], timeout_s=20))
    host = attach()
    host.register()
    started_at = time.monotonic()
    assert host.challenge_until(unhealthy)["log_msg"] == "check db: bad"
    assert time.monotonic() - started_at < 3


def test_a_file_means_unhealthy_while_it_is_there(start_guest, attach, tmp_path):
    path = tmp_path / "unhealthy"
    start_guest(
        settings=f'[[health_check]]\nname = "ops"\nunhealthy_file = "{path}"\ninterval_s = 0.1\n'
    )
    host = attach()
    host.register()
    assert healthy(host.challenge(1))
    path.write_text("draining for kernel update\nignored\n")
    assert host.challenge_until(unhealthy)["log_msg"] == "check ops: draining for kernel update"
    path.write_text("")
    answer = host.challenge_until(lambda one: "is there" in one["log_msg"])
    assert answer["log_msg"] == f"check ops: {path} is there"
    path.unlink()
    assert host.challenge_until(healthy)


def test_a_systemd_unit_is_asked_for(start_guest, attach):
    start_guest(settings='[[health_check]]\nname = "web"\nsystemd_unit = "no-such.service"\n')
    host = attach()
    host.register()
    # With systemd: "no-such.service is inactive"; where there is none, what is missing.
    assert host.challenge_until(unhealthy)["log_msg"].startswith(
        ("check web: no-such.service is ", "check web: can't run /")
    )


def test_several_faults_are_counted(start_guest, attach, script):
    settings = "".join(
        check([script(f"echo fault {name}; exit 1", name)], name=name) for name in "abc"
    )
    start_guest(settings=settings)
    host = attach()
    host.register()
    answer = host.challenge_until(lambda one: "more" in one["log_msg"] and "+2" in one["log_msg"])
    assert answer["log_msg"] == "check a: fault a (+2 more)"


def test_killing_the_check_from_outside_is_unhealthy_at_once(
    start_guest, attach, script, tmp_path, wait_until
):
    pid_file = tmp_path / "pid"
    start_guest(settings=check([script(f"echo $$ > {pid_file}; exec sleep 30")], timeout_s=60))
    host = attach()
    host.register()
    wait_until(lambda: pid_file.exists() and pid_file.read_text().strip())
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    started_at = time.monotonic()
    assert host.challenge_until(unhealthy)["log_msg"] == "check db: killed by signal 9"
    assert time.monotonic() - started_at < 0.5


def test_checks_are_stopped_with_the_daemon(start_guest, attach, script, tmp_path, wait_until):
    pid_file = tmp_path / "pid"
    guest = start_guest(settings=check([script(f"echo $$ > {pid_file}; exec sleep 30")]))
    attach().register()
    wait_until(lambda: pid_file.exists() and pid_file.read_text().strip())
    assert guest.stop() == 0
    wait_until(lambda: is_gone(int(pid_file.read_text())))


def test_a_check_does_not_inherit_what_is_the_daemons(
    start_guest, attach, script, tmp_path, monkeypatch
):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    command = script(
        f'[ -z "$NOTIFY_SOCKET" ] || exit 1; ls /proc/self/fd >{tmp_path}/descriptors;'
        # SIGPIPE and SIGXFSZ, which Python ignores; who runs the tests may ignore others.
        "ignored=0x$(sed -n 's/SigIgn:.//p' /proc/$$/status);"
        "[ $((ignored & 0x1001000)) = 0 ] || exit 2; echo well"
    )
    guest = start_guest(settings=check([command]))
    attach().register()
    deadline = time.monotonic() + 5
    while (result := guest.status()["checks"][0])["healthy"] is None:
        assert time.monotonic() < deadline
    assert (result["healthy"], result["log_msg"]) == (True, "well")
    # The standard ones, and the folder that ls reads.
    assert (tmp_path / "descriptors").read_text().split() == ["0", "1", "2", "3"]


def test_check_alone_runs_the_checks_without_a_daemon(start_guest, script):
    guest = start_guest(
        settings=check([script("echo broken; exit 1")]) + check(["/bin/true"], "ok")
    )
    guest.stop()
    result = guest.ask("check")
    assert result.returncode == 1
    assert "unhealthy: check db: broken" in result.stdout
    guest.config.write_text(check(["/bin/true"]))
    assert guest.ask("check").returncode == 0


def is_gone(pid):
    """No process, or one that is dead and only not reaped yet."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True
