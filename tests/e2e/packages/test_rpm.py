"""The rpm packages. No Fedora can be had here: in an empty root Debian's Python runs what they
bring, and in a VM with a real systemd Debian's rpm runs their scripts, the host agent at the port's
other end. That VM's tests are a story: each goes on where the one before has left it.
"""

import subprocess
import time

import pytest

from lab.debs import ROOT, VERSION, note_files, times_started, what_is_new

OLD, NEW = "0.0.9", VERSION
COMMANDS = {
    "guest": ["bin/reachthru-guest"],
    "host": ["bin/reachthru-host", "lib/reachthru/host/bin/reachthru"],
    "controller": ["bin/reachthru-controller", "lib/reachthru/controller/bin/reachthru"],
}
UNITS = [f"reachthru-{part}" for part in COMMANDS]
UPGRADED = UNITS[:2]  # the controller's has the same scripts, and most of the files
# By custom an rpm leaves its users, their data, and settings that somebody has changed.
LEFT_BEHIND = {"/etc/reachthru", "/etc/reachthru/guest.toml.rpmsave"}
LEFT_BEHIND |= {"/usr/lib/python3.11/site-packages"}  # which is always there where rpm is at home
USERS_BOOKS = (".pwd.lock", "passwd-", "group-", "shadow-", "gshadow-")
LEFT_BEHIND |= {f"/etc/{name}" for name in USERS_BOOKS}
DATA = ("/var/lib/rpm", "/var/lib/reachthru")


@pytest.fixture(scope="module")
def rpms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rpms")
    for version in (OLD, NEW):
        command = [ROOT / "tools/build-rpm", "--out", folder, "--version", version]
        subprocess.run(command, check=True)
    assert len(list(folder.iterdir())) == 8
    return folder


@pytest.fixture(scope="module")
def new_ones(rpms):
    return sorted(rpms.glob(f"*-{NEW}-*.rpm"))


@pytest.fixture(scope="module")
def root(new_ones, tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    # The scripts want a system: below.
    install = ["rpm", "--root", folder, "--nodeps", "--noscripts", "--install", *new_ones]
    subprocess.run(install, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("part", COMMANDS)
def test_a_part_is_whole(root, part):
    for file in (
        f"usr/lib/systemd/system/reachthru-{part}.service",
        f"usr/lib/sysusers.d/reachthru-{part}.conf",
        f"etc/reachthru/{part}.{'toml' if part == 'guest' else 'conf'}",
    ):
        assert (root / file).is_file()
    for command in COMMANDS[part]:
        script = (root / "usr" / command).read_text()
        assert script.startswith("#!/usr/bin/python3.11 -IS\n")
        moved = script.replace("/usr/lib/reachthru", f"{root}/usr/lib/reachthru")
        done = subprocess.run(
            ["/usr/bin/python3", "-IS", "-", "--version"],
            input=moved,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split()[-1] == VERSION


def test_what_pypi_brought_is_neither_asked_for_nor_offered(new_ones):
    for question in ("--requires", "--provides"):
        answer = subprocess.run(
            ["rpm", "-qp", question, *new_ones], capture_output=True, text=True, check=True
        ).stdout
        assert ".so" not in answer
        assert "dist(" not in answer


def test_openstacks_services_find_the_plugins(root):
    public = root / "usr/lib/python3.11/site-packages"
    assert (public / "nova/virt/reachthru/__init__.py").is_file()
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from importlib.metadata import entry_points;"
        "print(entry_points(name='reachthru'), entry_points(group='openstack.cli.extension'))"
    )
    found = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", script, public], capture_output=True, text=True, check=True
    ).stdout
    assert "reachthru.openstack_plugins.nova.extra_specs" in found
    assert "reachthru.openstack_plugins.osc.plugin" in found


@pytest.fixture(scope="module")
def vm(stack, rpms, boot):
    with boot(rpms, stack.folder, stack.ports, also=["rpm"]) as vm:
        # As libvirt does there, and where Python has libvirt's binding there.
        vm.check("groupadd --system libvirt; groupadd --system qemu")
        vm.check(
            "mkdir -p /usr/lib64/python3.11/site-packages; cd /usr/lib/python3/dist-packages;"
            " ln -s $PWD/libvirt* $PWD/__pycache__ /usr/lib64/python3.11/site-packages"
        )
        note_files(vm)
        yield vm


@pytest.fixture
def watch(stack, vm, watch_of):
    return watch_of(stack, vm.uuid)


def test_an_installation_enables_what_the_presets_say_and_udev_starts_the_guests_daemon(vm, stack):
    # No dependencies: rpm knows nothing of what dpkg has installed.
    vm.check(f"rpm --install --nodeps /debs/*-{OLD}-*.rpm", timeout_s=300)
    stack.wait_registered(vm.uuid)
    vm.check("systemctl is-enabled reachthru-host reachthru-controller")
    vm.check("systemctl start reachthru-host reachthru-controller", timeout_s=180)
    assert {"libvirt", "qemu"} <= set(vm.check("id -nG reachthru-host").split())
    for part in ("host", "controller"):
        shown = vm.check(f"stat -c '%a %U %G' /etc/reachthru/{part}.conf").split()
        assert shown == ["640", "root", f"reachthru-{part}"]
    assert "broker" in vm.run("reachthru doctor", 60).output


def test_an_upgrade_starts_each_daemon_once_and_alarms_nobody(vm, watch):
    vm.check("sed -i s/SAL1/SAL2/ /etc/reachthru/guest.toml && systemctl restart reachthru-guest")
    watch.wait_well()
    since, starts = time.monotonic(), {unit: times_started(vm, unit) for unit in UPGRADED}
    packages = " ".join(f"/debs/{unit}-{NEW}-*.rpm" for unit in UPGRADED)
    vm.check(f"rpm --upgrade --nodeps {packages}", timeout_s=300)
    watch.wait_well()
    assert watch.heard(since) == []
    for unit in UPGRADED:
        assert vm.check(f"{unit} --version").split()[-1] == NEW
        vm.until(f"systemctl is-active {unit}", timeout_s=120)
        assert (unit, times_started(vm, unit)) == (unit, starts[unit] + 1)
    assert "SAL2" in vm.check("cat /etc/reachthru/guest.toml")
    changed = vm.run("rpm --verify --nodeps --all", 120).output.splitlines()
    assert [line.split()[-1] for line in changed] == ["/etc/reachthru/guest.toml"]


def test_a_removal_is_no_fault_and_systemd_forgets_the_units(vm, watch):
    since = time.monotonic()
    vm.check("rpm --erase $(rpm --query --all 'reachthru-*')", timeout_s=300)
    for unit in UNITS:
        assert vm.check(f"systemctl show -P LoadState {unit}").strip() == "not-found"
    assert watch.heard(since) == []
    left = {path for path in what_is_new(vm) if not path.startswith(DATA)} - LEFT_BEHIND
    assert left == set(), "\n".join(sorted(left))
