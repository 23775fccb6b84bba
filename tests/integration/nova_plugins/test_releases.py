"""A Nova that is not what we know: one line with the versions supported, and nova-api lives on."""

import pytest

pytestmark = pytest.mark.xdist_group("nova_plugins")  # one Nova for all

STARTS = """
import io, json, logging
said = io.StringIO()
logging.basicConfig(stream=said, format="%(levelname)s %(message)s")
from nova.virt import driver, virtapi
from nova.virt.libvirt import driver as libvirt_driver
from reachthru.openstack_plugins.nova import releases

class NextDriver(libvirt_driver.LibvirtDriver):
    def {hook}:
        pass

if {changed}:
    del libvirt_driver.LibvirtDriver._get_guest_config
    NextDriver.__module__ = libvirt_driver.__name__
    libvirt_driver.LibvirtDriver = NextDriver
releases.nova_release = lambda: {release!r}
try:
    loaded = driver.load_compute_driver(virtapi.VirtAPI(), "reachthru.LibvirtDriver")
    outcome = type(loaded).__module__
except SystemExit as stop:
    outcome = stop.code
print(json.dumps([outcome, said.getvalue()]))
"""

VALIDATES = """
import io, json, logging
said = io.StringIO()
logging.basicConfig(stream=said, format="%(levelname)s %(message)s")
from nova.api.validation.extra_specs import base
{change}
from nova.api.validation.extra_specs import validators
ours = sorted(name for name in validators.VALIDATORS if name.startswith("ha:"))
print(json.dumps([ours, len(validators.VALIDATORS) > 50, said.getvalue()]))
"""

# Nova's own validators need the class as it is: only ours get to see that it changed.
CHANGED = """
real = base.ExtraSpecValidator
def changed(name, **more):
    if name.startswith("ha:"):
        raise TypeError("there is no parameter 'name'")
    return real(name, **more)
base.ExtraSpecValidator = changed
"""


def start(nova_imported, *, release="34.0.0", hook=None):
    """nova-compute's own loading of the driver: what it ended with, and the log."""
    code = STARTS.format(release=release, changed=hook is not None, hook=hook or "unused(self)")
    return nova_imported.ask(code)


def test_a_known_release_starts_in_silence(nova_imported):
    outcome, log = start(nova_imported)
    assert outcome == "reachthru.openstack_plugins.nova.driver"
    assert "reachthru" not in log


def test_an_unknown_release_that_still_fits_starts_and_is_told_of(nova_imported):
    outcome, log = start(nova_imported, release="99.0.0")
    assert outcome == "reachthru.openstack_plugins.nova.driver"
    assert "WARNING reachthru was not tried with Nova 99.0.0 (supported: Nova 34 (2026.2))" in log


@pytest.mark.parametrize(
    "hook",
    ["_get_guest_config(self, context, instance)", "_build_guest_config(self, request)"],
)
def test_a_release_whose_driver_changed_does_not_start_and_says_why(nova_imported, hook):
    outcome, log = start(nova_imported, release="99.0.0", hook=hook)
    assert outcome == 1
    assert "Unable to load the virtualization driver" in log
    said = [line for line in log.splitlines() if "reachthru:" in line]
    assert len(said) == 1
    for part in (
        "the libvirt driver of Nova 99.0.0 has no _get_guest_config(",
        "supported: Nova 34 (2026.2)",
        "compute_driver = libvirt.LibvirtDriver",
    ):
        assert part in said[0]


def test_novas_own_validators_and_ours_are_there(nova_imported):
    ours, novas, _log = nova_imported.ask(VALIDATES.format(change=""))
    assert ours == ["ha:guest_heartbeat", "ha:server_group_messaging"]
    assert novas


def test_validators_that_changed_are_told_of_and_the_api_starts(nova_imported):
    ours, novas, log = nova_imported.ask(VALIDATES.format(change=CHANGED))
    assert ours == []
    assert novas
    assert "ERROR reachthru: this Nova's extra spec validators are not what we know" in log
    assert "supported: Nova 34 (2026.2)" in log
