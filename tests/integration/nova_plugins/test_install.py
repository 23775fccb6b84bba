"""Our wheels in Nova's environment: what they bring in, and what they load."""

import email
import zipfile

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.xdist_group("nova_plugins")  # one Nova for all

IMPORTS = """
import importlib, json, sys
before = set(sys.modules)
importlib.import_module({module!r})
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def required(wheel):
    """What pip installs with it where no extra is asked for."""
    with zipfile.ZipFile(wheel) as archive:
        path = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = email.message_from_bytes(archive.read(path))
    wanted = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    return {one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})}


def test_they_bring_in_nothing_of_the_controllers(environment):
    main, compute = environment.wheels
    assert required(main) == {"msgspec"}
    assert required(compute) == {"reachthru"}


def test_only_the_small_wheel_puts_anything_into_novas_package(environment):
    main, compute = environment.wheels
    assert not [name for name in names(main) if name.startswith("nova")]
    files = [name for name in names(compute) if ".dist-info/" not in name]
    assert files == ["nova/virt/reachthru/__init__.py"]


@pytest.mark.parametrize(
    ("module", "more"),
    [
        ("reachthru.openstack_plugins.nova.extra_specs", set()),
        ("nova.virt.reachthru", {"reachthru.openstack_plugins.nova.driver"}),
    ],
)
def test_their_import_loads_a_few_small_modules_of_ours(nova_imported, module, more):
    assert set(nova_imported.ask(IMPORTS.format(module=module))) == {
        "reachthru",
        "reachthru._version",
        "reachthru.openstack_plugins",
        "reachthru.openstack_plugins.nova",
        "reachthru.openstack_plugins.nova.releases",
        "reachthru.protocol",
        "reachthru.protocol.extra_specs",
        module,
        *more,
    }
