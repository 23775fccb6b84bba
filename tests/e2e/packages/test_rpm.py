"""The rpm packages, in an empty root: Debian's rpm installs them, Debian's Python runs them."""

import subprocess

import pytest

from lab.debs import ROOT, VERSION

COMMANDS = {
    "guest": ["bin/reachthru-guest"],
    "host": ["bin/reachthru-host", "lib/reachthru/host/bin/reachthru"],
    "controller": ["bin/reachthru-controller", "lib/reachthru/controller/bin/reachthru"],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    subprocess.run([ROOT / "tools/build-rpm"], check=True)
    packages = sorted((ROOT / "build").glob(f"reachthru-*-{VERSION}-*.rpm"))
    assert len(packages) == 4
    # The scripts want a system's users; what they say is the deb's, which a VM has tried.
    install = ["rpm", "--root", folder, "--nodeps", "--noscripts", "--install", *packages]
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


def test_what_pypi_brought_is_neither_asked_for_nor_offered(root):
    for question in ("--requires", "--provides"):
        packages = (ROOT / "build").glob("reachthru-*.rpm")
        answer = subprocess.run(
            ["rpm", "-qp", question, *packages], capture_output=True, text=True, check=True
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
