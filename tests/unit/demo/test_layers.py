"""What goes into the guest, as far as it is ours to get wrong."""

import shutil
from pathlib import Path

import pytest

import reachthru
from reachthru.demo import layers
from reachthru.demo.archive import Archive


@pytest.fixture
def package(tmp_path):
    source = Path(reachthru.__file__).parent
    copy = tmp_path / "reachthru"
    for name in ("protocol", "guest_daemon"):
        shutil.copytree(source / name, copy / name)
    for name in ("__init__.py", "systemd.py"):
        shutil.copy(source / name, copy)
    return copy


class Listing(Archive):
    def __init__(self):
        super().__init__()
        self.paths = []

    def add_file(self, path, content, *, executable=False):
        self.paths.append(path)
        super().add_file(path, content, executable=executable)


def test_the_guest_has_our_daemon_compiled_and_its_scripts(package):
    listing = Listing()
    layers.code(package).fill(listing)
    home = f"/usr/lib/{layers.PYTHON}/reachthru"
    assert {"/init", "/lab/door", f"{home}/guest_daemon/cli.pyc"} <= set(listing.paths)
    assert not [path for path in listing.paths if path.endswith(".py")]


def test_a_change_to_the_daemon_makes_another_layer(package):
    before = layers.code(package).fingerprint()
    assert layers.code(package).fingerprint() == before
    with (package / "guest_daemon/cli.py").open("a") as source:
        source.write("# changed\n")
    assert layers.code(package).fingerprint() != before


def test_a_missing_part_is_named(tmp_path):
    folder = tmp_path / "linux-image-6.1"
    folder.mkdir()
    with pytest.raises(layers.LayerError, match=r"linux-image-6\.1 has 0 files like boot/vmlinuz"):
        layers.kernel(folder)
