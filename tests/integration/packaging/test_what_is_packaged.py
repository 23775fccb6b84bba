"""What the packages are made of fits together: settings, units, locks, images. Nothing is built."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lab.debs import VERSION
from reachthru.controller_server import settings as controller_settings
from reachthru.demo.packages import fetch
from reachthru.guest_daemon import settings as guest_settings
from reachthru.host_agent import settings as host_settings

ROOT = Path(__file__).parents[3]
PACKAGING = ROOT / "packaging"
DAEMONS = ("guest", "host", "controller")
# systemd-analyze's "exposure", times ten; what health checks need costs the guest daemon a bit.
EXPOSURE = {"guest": 20, "host": 15, "controller": 15}


def test_the_guests_settings_that_are_shipped_are_the_defaults(tmp_path):
    shipped = guest_settings.load(str(PACKAGING / "etc/guest.toml"))
    empty = tmp_path / "empty.toml"
    empty.touch()
    defaults = guest_settings.load(str(empty))
    for field in ("port", "dialect", "policy", "checks", "applications_socket"):
        assert getattr(shipped, field) == getattr(defaults, field)


def test_the_guests_examples_are_good_settings(tmp_path):
    text = (PACKAGING / "etc/guest.toml").read_text()
    uncommented = tmp_path / "guest.toml"
    uncommented.write_text(re.sub(r"^# (?=\[\[|\w+ = )", "", text, flags=re.MULTILINE))
    assert len(guest_settings.load(str(uncommented)).checks) == 3


def test_agent_and_controller_take_what_is_shipped_and_find_each_other():
    host = host_settings.load(PACKAGING / "etc/host.conf")
    controller = controller_settings.load(PACKAGING / "etc/controller.conf")
    assert host.bus_url == f"mqtt://127.0.0.1:{controller.embedded_port}"
    assert host.driver == "libvirt"


@pytest.mark.parametrize("part", ["host", "controller"])
def test_what_a_daemon_keeps_is_in_the_folder_that_its_unit_gives_it(part):
    settings = (PACKAGING / f"etc/{part}.conf").read_text()
    assert f"/var/lib/reachthru/{part}/" in settings
    unit = (PACKAGING / f"systemd/reachthru-{part}.service").read_text()
    assert f"StateDirectory=reachthru/{part}\n" in unit


@pytest.mark.parametrize("part", DAEMONS)
def test_systemd_takes_the_unit_and_finds_it_tight(part, tmp_path):
    unit = tmp_path / f"reachthru-{part}.service"
    text = (PACKAGING / f"systemd/reachthru-{part}.service").read_text()
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE[part]}", unit],
        check=True,
        capture_output=True,
    )


@pytest.mark.parametrize(
    ("lock", "extras"),
    [
        ("base", []),
        ("host", ["host", "tracing"]),
        ("controller", ["controller", "host", "openstack", "postgresql", "tracing"]),
    ],
)
def test_the_lock_has_all_that_a_part_needs_by_hash(lock, extras):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = list(project["dependencies"])
    for extra in extras:
        needed += project["optional-dependencies"][extra]
    text = (PACKAGING / f"vendor/{lock}.txt").read_text()
    locked = re.findall(r"^([\w.-]+)==\S+ \\\n    --hash=sha256:", text, re.MULTILINE)
    for requirement in needed:
        name = re.match(r"[\w.-]+", requirement)[0].lower().replace(".", "-")
        assert name in locked, f"run tools/lock-vendor: {name} is new"


def test_the_changelog_is_of_the_trees_version():
    assert (PACKAGING / "debian/changelog").read_text().startswith(f"reachthru ({VERSION}) ")


def test_cloud_init_takes_the_user_data():
    """Debian's cloud-init, unpacked: installed, it would set this machine up."""
    folders = fetch(["cloud-init", "python3-configobj"], ROOT / "build/cache", print)
    check = (
        "import sys, yaml; sys.path += sys.argv[2:];"
        "from cloudinit.config import schema;"
        "found = yaml.safe_load(open(sys.argv[1]));"
        "schema.validate_cloudconfig_schema(found, schema=schema.get_schema(), strict=True)"
    )
    user_data = PACKAGING / "image/cloud-init/reachthru-guest.yaml"
    paths = [folder / "usr/lib/python3/dist-packages" for folder in folders.values()]
    subprocess.run([sys.executable, "-c", check, user_data, *paths], check=True)
