"""reachthru-guest in a real VM with a real systemd, a real host agent at the port's other end.

A story: each test goes on where the one before has left the VM.
"""

import shutil
import time

import pytest

from lab.debs import ROOT, VERSION, assert_purged, build_debs, note_files, times_started

OLD, NEW = "0.0.9", VERSION
ELEMENT = ROOT / "packaging/image/elements/reachthru-guest"


@pytest.fixture(scope="module")
def debs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("debs")
    for version in (OLD, NEW):
        build_debs(folder, "reachthru-guest", version=version)
    shutil.copy(ELEMENT / "install.d/50-reachthru-guest", folder / "element-install")
    return folder


@pytest.fixture(scope="module")
def vm(stack, debs, boot):
    with boot(debs, stack.folder, stack.ports) as vm:
        yield vm


@pytest.fixture
def watch(stack, vm, watch_of):
    return watch_of(stack, vm.uuid)


def install(vm, version):
    vm.check(f"dpkg --install /debs/reachthru-guest_{version}_amd64.deb")


def main_pid(vm):
    return vm.check("systemctl show -P MainPID reachthru-guest").strip()


def test_the_same_source_makes_the_same_package(debs, tmp_path):
    build_debs(tmp_path, "reachthru-guest", version=NEW)
    (again,) = tmp_path.iterdir()
    assert again.read_bytes() == (debs / again.name).read_bytes()


def test_udev_starts_it_once_it_is_installed_and_the_host_hears_it(vm, stack):
    note_files(vm)
    vm.check(f"apt-get install -y /debs/reachthru-guest_{OLD}_amd64.deb")
    stack.wait_registered(vm.uuid)
    assert vm.check("reachthru-guest --version").split()[-1] == OLD
    assert "host connected" in vm.check("systemctl status reachthru-guest")
    status = vm.check(f"cat /proc/{main_pid(vm)}/status")
    assert "CapEff:\t0000000000000000" in status
    assert "\t0\t" not in next(line for line in status.splitlines() if line.startswith("Uid:"))


def test_kill_9_is_a_fault_that_systemd_ends(vm, watch):
    watch.wait_well()
    since = time.monotonic()
    pid = main_pid(vm)
    vm.check(f"kill -9 {pid}")
    watch.expect("heartbeat_lost", "raised", since)
    watch.expect("heartbeat_lost", "cleared", since, timeout_s=60)
    assert main_pid(vm) != pid


def test_a_daemon_that_hangs_is_a_fault_that_the_watchdog_ends(vm, watch):
    watch.wait_well()
    since, pid = time.monotonic(), main_pid(vm)
    vm.check(f"kill -STOP {pid}")
    watch.expect("heartbeat_lost", "raised", since)
    watch.expect("heartbeat_lost", "cleared", since, timeout_s=60)
    assert main_pid(vm) != pid


def test_the_daemon_takes_new_settings(vm, stack):
    """SAL2, for what follows: an emulated machine that installs packages is slow."""
    vm.check("sed -i s/SAL1/SAL2/ /etc/reachthru/guest.toml && systemctl restart reachthru-guest")
    stack.wait_until(lambda: stack.instance(vm.uuid).get("interval_ms") == 2000, "SAL2")


@pytest.mark.parametrize("version", [NEW, OLD, NEW], ids=["upgrade", "rollback", "upgrade again"])
def test_another_version_is_installed_while_heartbeating_and_nobody_is_alarmed(vm, watch, version):
    watch.wait_well()
    since, starts = time.monotonic(), times_started(vm, "reachthru-guest")
    install(vm, version)
    vm.until("systemctl is-active reachthru-guest")
    assert times_started(vm, "reachthru-guest") == starts + 1
    assert vm.check("reachthru-guest --version").split()[-1] == version
    watch.wait_well()
    assert watch.heard(since) == []


def test_wrong_settings_are_one_line_in_the_journal_and_no_loop(vm, watch):
    vm.check("cp /etc/reachthru/guest.toml /tmp/; echo '[heartbet]' >>/etc/reachthru/guest.toml")
    vm.run("systemctl restart reachthru-guest", 60)
    vm.until("systemctl is-failed reachthru-guest")
    assert "[heartbet]" in vm.check("journalctl -u reachthru-guest -n 5")
    vm.check("cp /tmp/guest.toml /etc/reachthru/; systemctl restart reachthru-guest")
    watch.wait_well()


def test_it_stops_with_its_port_and_starts_with_it(vm, watch, stack):
    vm.unplug()
    vm.until("test $(systemctl is-active reachthru-guest) = inactive")
    vm.plug()
    vm.until("systemctl is-active reachthru-guest")
    stack.wait_registered(vm.uuid)


def test_a_removal_is_no_fault_and_a_purge_leaves_nothing(vm, watch):
    watch.wait_well()
    since = time.monotonic()
    vm.check("apt-get remove -y reachthru-guest")
    assert vm.run("systemctl is-active reachthru-guest").output.strip() == "inactive"
    vm.check("test -e /etc/reachthru/guest.toml")
    vm.check("apt-get purge -y reachthru-guest")
    assert_purged(vm)
    assert watch.heard(since) == []


def test_the_image_element_puts_it_into_an_image(vm, stack):
    """Its script only, where the package was before; test_image_element.py has the whole."""
    vm.check(
        f"mkdir /tmp/element; cp /debs/reachthru-guest_{NEW}_*.deb /tmp/element/;"
        " echo '[heartbeat]\ninterval_ms = 700' >/tmp/element/guest.toml;"
        " DIB_REACHTHRU_GUEST_FOLDER=/tmp/element bash /debs/element-install"
    )
    vm.until("systemctl is-active reachthru-guest")  # udev, once more
    vm.check("systemctl restart reachthru-guest")
    stack.wait_until(
        lambda: stack.instance(vm.uuid).get("interval_ms") == 700, "the image's own settings"
    )
