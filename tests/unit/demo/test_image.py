"""Building, with stand-ins for what comes from Debian."""

import gzip
import os
import platform

import pytest

from reachthru.demo import image, layers
from reachthru.demo.errors import DemoError


@pytest.fixture
def packages(tmp_path, monkeypatch):
    kernel = tmp_path / "linux-image-6.1/boot/vmlinuz-6.1"
    kernel.parent.mkdir(parents=True)
    kernel.write_bytes(b"kernel")
    content = {"base": b"base 1", "agent": b"agent 1"}

    def layer(name):
        def build(_folders):
            return layers.Layer(
                name,
                lambda: iter([content[name]]),
                lambda archive: archive.add_file(f"/{name}", content[name]),
            )

        return build

    monkeypatch.setattr(
        image, "fetch", lambda names, _cache, _progress: dict.fromkeys(names, kernel.parents[1])
    )
    monkeypatch.setattr(layers, "base", layer("base"))
    monkeypatch.setattr(layers, "guest_agent", layer("agent"))
    return content


def unpacked(built):
    with gzip.open(built.initramfs) as archives:
        return archives.read()


def test_an_image_is_built_once(packages, tmp_path):
    told = []
    first = image.build_image(tmp_path / "build", told.append)
    assert image.build_image(tmp_path / "build", told.append) == first
    assert told == ["packing the guest's base", "packing the guest's daemon"]


def test_only_the_layer_that_changed_is_packed_again(packages, tmp_path):
    first = image.build_image(tmp_path / "build")
    packages["base"] = b"base 2"
    told = []
    second = image.build_image(tmp_path / "build", told.append)
    assert told == ["packing the guest's base"]
    assert second.initramfs != first.initramfs
    assert b"base 2" in unpacked(second)


def test_qemus_guest_agent_is_in_it_only_where_it_is_wanted(packages, tmp_path):
    with_agent = image.build_image(tmp_path / "build", guest_agent=True)
    without = image.build_image(tmp_path / "build")
    assert b"agent 1" in unpacked(with_agent)
    assert b"agent 1" not in unpacked(without)


def test_images_that_nobody_used_for_an_hour_are_forgotten(packages, tmp_path):
    first = image.build_image(tmp_path / "build").initramfs
    os.utime(first, (0, 0))
    packages["base"] = b"base 2"
    second = image.build_image(tmp_path / "build").initramfs
    assert not first.exists()
    assert second.exists()


def test_another_processor_is_told_so_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(DemoError, match="x86_64 and CPython only"):
        image.build_image(tmp_path / "build")
