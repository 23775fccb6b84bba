"""The initramfs format, read back by busybox's own cpio."""

import gzip
import stat
import subprocess

import pytest

from reachthru.demo.archive import Archive


@pytest.fixture
def unpacked(tmp_path):
    archive = Archive()
    archive.add_file("/init", b"#!/bin/sh\n", executable=True)
    archive.add_file("/etc/deep/er/odd", b"123")
    archive.add_link("/bin/sh", "busybox")
    archive.add_folder("/proc")
    packed = tmp_path / "archive"
    packed.write_bytes(gzip.decompress(archive.compressed()))
    target = tmp_path / "target"
    target.mkdir()
    with packed.open("rb") as stream:
        subprocess.run(["busybox", "cpio", "-i"], stdin=stream, cwd=target, check=True)
    return target


def test_files_links_and_folders_come_out_as_they_went_in(unpacked):
    assert (unpacked / "init").read_bytes() == b"#!/bin/sh\n"
    assert (unpacked / "etc/deep/er/odd").read_bytes() == b"123"
    assert (unpacked / "bin/sh").readlink().name == "busybox"
    assert (unpacked / "proc").is_dir()


def test_programs_are_executable_and_data_is_not(unpacked):
    assert stat.S_IMODE((unpacked / "init").stat().st_mode) == 0o755
    assert stat.S_IMODE((unpacked / "etc/deep/er/odd").stat().st_mode) == 0o644


def test_the_same_content_gives_the_same_bytes():
    def build():
        archive = Archive()
        archive.add_file("/a", b"content")
        return archive.compressed()

    assert build() == build()


def test_archives_can_be_joined_since_each_ends_on_four_bytes():
    archive = Archive()
    archive.add_file("/a", b"content")
    assert len(archive.compressed()) % 4 == 0
