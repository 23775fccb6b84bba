"""The README's way from an empty Debian VM to a fault on the page, by the very commands there.

The first test is in every run; what follows in the same VM is `make packages-test`'s.
"""

import json
import re
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.debs import ROOT, assert_purged, build_debs, note_files
from lab.systemd_vm import build_system

# What each of the five says at last; "" where its end is enough.
SHOWN = ["", "", "\thealthy\t", "the database is gone", "the database is gone"]
UNITS = "reachthru-controller reachthru-host reachthru-guest"


def five_commands():
    section = (ROOT / "README.md").read_text().partition("## Install it\n")[2]
    block = re.search(r"```\n(.*?)```", section, re.DOTALL)[1]
    return [line.partition("  #")[0].strip() for line in block.strip().splitlines()]


@pytest.fixture(scope="module")
def vm(boot, tmp_path_factory):
    debs = tmp_path_factory.mktemp("debs")
    with ThreadPoolExecutor() as aside:
        system = aside.submit(build_system, ROOT / "build")  # waits for the network
        build_debs(debs)
        system.result()
    # Sockets have short names. Nobody listens at this machine's port: both sides are inside.
    with (
        tempfile.TemporaryDirectory(prefix="rt-") as folder,
        boot(debs, Path(folder), Path(folder)) as vm,
    ):
        vm.check("groupadd --system libvirt; groupadd --system libvirt-qemu")  # as libvirt does
        note_files(vm)
        yield vm


@pytest.mark.every_run
def test_five_commands_lead_to_a_fault_on_the_page(vm):
    commands = five_commands()
    began = time.monotonic()
    for command, shows in zip(commands, SHOWN, strict=True):
        # Who looks too early on a slow machine looks again.
        look = (
            f'sudo() {{ "$@"; }}; cd /debs; ({command}) >/tmp/said 2>&1'
            f' && grep -q "{shows}" /tmp/said || {{ cat /tmp/said; false; }}'
        )
        vm.until(look, timeout_s=60) if shows else vm.check(look, timeout_s=500)
        print(f"{time.monotonic() - began:.0f} s: {command}\n{vm.check('cat /tmp/said')}")
    # What a browser makes of these two: tests/web.
    page = vm.check("curl --fail --silent http://127.0.0.1:8780/")
    assert '<script type="module"' in page
    vm.check("curl --fail --silent http://127.0.0.1:8780/web/app.js")
    faults = json.loads(vm.check("curl --fail --silent http://127.0.0.1:8780/v1/faults"))["faults"]
    assert [(one["kind"], one["status"], one["detail"]) for one in faults] == [
        ("unhealthy", "raised", "check operator: the database is gone")
    ]


def test_the_doctor_finds_nothing_wrong(vm):
    assert " 0 wrong" in vm.check("reachthru doctor")


def test_the_daemons_are_ready_watched_and_not_root(vm):
    for unit in UNITS.split():
        shown = vm.check(f"systemctl show -p ActiveState,User,WatchdogUSec,NRestarts {unit}")
        assert f"User={unit}" in shown
        assert "ActiveState=active" in shown
        assert "WatchdogUSec=infinity" not in shown
        assert "NRestarts=0" in shown
        status = vm.check(f"cat /proc/$(systemctl show -P MainPID {unit})/status")
        assert "CapEff:\t0000000000000000" in status


def test_openstacks_services_find_the_plugins(vm):
    vm.check("apt-get install -y /debs/reachthru-openstack_*.deb")
    find = "from importlib.metadata import entry_points as e; print(e(name='reachthru'))"
    assert "reachthru.openstack_plugins.nova.extra_specs" in vm.check(f'python3 -c "{find}"')
    vm.check("python3 -c 'import reachthru.openstack_plugins.osc.records'")


def test_the_agent_is_in_libvirts_groups_and_secrets_are_for_their_daemon_only(vm):
    groups = vm.check("id -nG reachthru-host").split()
    assert {"libvirt", "libvirt-qemu"} <= set(groups)
    for part in ("host", "controller"):
        shown = vm.check(f"stat -c '%a %U %G' /etc/reachthru/{part}.conf").split()
        assert shown == ["640", "root", f"reachthru-{part}"]
        assert vm.check(f"stat -c '%a' /var/lib/reachthru/{part}").strip() == "750"


@pytest.mark.parametrize("unit", ["reachthru-host", "reachthru-controller"])
def test_who_is_killed_is_started_again_and_the_fault_is_still_there(vm, unit):
    vm.check(f"systemctl kill -s KILL {unit}")
    vm.until(f"test $(systemctl show -P NRestarts {unit}) -eq 1")
    vm.until(f"systemctl is-active {unit}", timeout_s=120)
    vm.until("reachthru faults --active | grep -q 'the database is gone'")


def test_a_compute_node_alone_has_the_doctor_too(vm):
    vm.check("apt-get remove -y reachthru-controller", timeout_s=280)
    found = vm.run("reachthru doctor --role host --json", 60)
    wrong = [one["check"] for one in json.loads(found.output)["findings"] if one["mark"] == "wrong"]
    assert (found.exit_code, wrong) == (1, ["broker"])


def test_a_purge_leaves_nothing(vm):
    vm.check("apt-get purge -y 'reachthru-*'", timeout_s=280)
    assert_purged(vm)
